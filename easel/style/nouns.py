"""What every word may mean to the planner: the lexicon and the names in the library as one book."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from easel.style.scene import Library
from easel.style.vocabulary import COLOURS, MATERIALS, PLACES, SIGNS, SLOTS, Place, listed
from easel.style.words import Phrasebook, inflected, inverted, lexicon, singular, split, word_list

ALIVE = ("people", "animals and nature", "smileys")
UNASKED = word_list("unasked")
NOT_A_NAME = word_list("not_a_name")
PLACE_OF = {word: place for place in PLACES for word in place.words}


@dataclass(frozen=True)
class Noun:
    drawings: tuple[str, ...] = ()  # keys in the library that show it; the seed may choose
    place: Place | None = None  # where a scene can happen
    score: float = 1.0  # how surely this is meant
    alive: bool = False  # somebody, not something


@dataclass(frozen=True)
class Meaning:
    """What a phrase does in a prompt."""

    kind: str  # noun, colour, number, relation, look, measure, lead, refusal, verb, filler
    value: Any = None


@lru_cache(maxsize=2)
def phrasebook(library: Library) -> Phrasebook[Meaning]:
    """All phrases the planner knows; where two meanings compete, the earlier stands."""
    ranked = sorted(library.names, key=library.kind)  # emoji before silhouettes
    keys = {library.names[key]: key for key in reversed(ranked)}
    return Phrasebook(
        [
            *meanings("relation", inverted(lexicon("relations"))),
            *meanings("lead", ((phrase, None) for phrase in word_list("style_leads"))),
            *meanings("refusal", ((phrase, None) for phrase in word_list("refusals"))),
            *meanings("number", ((phrase, int(count)) for phrase, count in inverted(lexicon("numbers")))),
            *meanings("measure", ((f"{phrase} of", None) for phrase in word_list("measures"))),
            *meanings("noun", characters(library)),
            *meanings("noun", synonyms(library, keys)),
            *meanings("colour", COLOURS.items()),
            *meanings(
                "filler",
                ((word, None) for word in (word_list("fillers") | word_list("abstractions")) - set(PLACE_OF)),
            ),
            *meanings("verb", ((word, None) for word in word_list("verbs"))),
            *meanings("noun", names(library, ranked, range(2, 9))),
            *meanings("look", ((phrase, None) for phrase in look_phrases())),
            *meanings("noun", ((word, Noun(place=place)) for word, place in PLACE_OF.items())),
            *meanings("noun", names(library, ranked, range(1, 2))),
            *meanings("noun", heads(library, ranked)),
            *meanings("noun", tags(library, ranked)),
            *meanings("noun", ((word, Noun(score=0.0)) for word in MATERIALS)),
        ]
    )


def look_phrases() -> Iterable[str]:
    """What says how the picture looks; settings are read as places."""
    return (
        phrase
        for table in (SLOTS, SIGNS)
        for slot, phrases in table.items()
        if slot != "setting"
        for phrase, _ in inverted(phrases)
    )


def meanings(kind: str, entries: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, Meaning]]:
    return ((phrase, Meaning(kind, value)) for phrase, value in entries)


def noun(library: Library, drawings: tuple[str, ...], score: float, place: Place | None = None) -> Noun:
    return Noun(drawings, place, score, alive=library.groups[drawings[0]] in ALIVE)


def characters(library: Library) -> Iterable[tuple[str, Noun]]:
    """The emoji themselves, as one writes them."""
    for key in library.names:
        if library.kind(key) == "emoji" and "-" not in key:
            yield chr(int(key, 16)), noun(library, (key,), 1.0)


def synonyms(library: Library, keys: dict[str, str]) -> Iterable[tuple[str, Noun]]:
    """The lexicon's words for drawings."""
    for name, phrases in lexicon("synonyms").items():
        drawings = tuple(keys[part] for part in listed(name) if part in keys)
        for phrase in phrases:
            if drawings:
                yield phrase, noun(library, drawings, 0.95, PLACE_OF.get(phrase))


def names(library: Library, ranked: list[str], lengths: range) -> Iterable[tuple[str, Noun]]:
    """The names of the drawings that have so many words."""
    singulars = {name.lower() for key, name in library.names.items() if library.kind(key) == "emoji"}
    singulars |= {phrase for phrase, _ in inverted(lexicon("synonyms"))}
    for key in ranked:
        name = " ".join(split(library.names[key]))
        if library.kind(key) == "silhouette" and singular(name) != name and singular(name) in singulars:
            continue  # "mushrooms" are several of the emoji
        if len(name.split()) in lengths and named(library, key, name):
            yield name, noun(library, (key,), 1.0, PLACE_OF.get(name))


def named(library: Library, key: str, name: str) -> bool:
    """Whether who writes the name means the drawing."""
    if library.kind(key) == "emoji":
        return not name.startswith("keycap")
    return name not in NOT_A_NAME


def heads(library: Library, ranked: list[str]) -> Iterable[tuple[str, Noun]]:
    """The last word of a name of two: "mug" for the beer mug."""
    for key in ranked:
        words = split(library.names[key])
        if len(words) == 2 and not (words[1] in NOT_A_NAME or inflected(words[1])) and drawable(library, key):
            yield singular(words[1]), noun(library, (key,), 0.8)


def tags(library: Library, ranked: list[str]) -> Iterable[tuple[str, Noun]]:
    """The tags, each for the drawing that has the fewest others."""
    for key in sorted(ranked, key=lambda key: len(library.tags[key])):
        if drawable(library, key):
            for tag in filter(lambda tag: not inflected(tag), library.tags[key]):
                yield singular(tag), noun(library, (key,), 0.7)


def drawable(library: Library, key: str) -> bool:
    """Whether the drawing may stand for words that are not its name."""
    if library.kind(key) == "emoji":
        return library.groups[key] not in ("symbols", "smileys")
    words = split(library.names[key])
    return not UNASKED.intersection(words) and " ".join(words) not in NOT_A_NAME
