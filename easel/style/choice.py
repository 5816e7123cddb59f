"""Which drawings stand for the things a prompt names, and how many of each."""

import random
from collections.abc import Callable
from dataclasses import replace

from easel.style.nouns import drawable, phrasebook
from easel.style.parse import CERTAIN, Reading, Thing
from easel.style.scene import Library
from easel.style.words import Phrasebook, inverted, lexicon, singular, split, word_list

Ranked = list[tuple[str, float]]  # drawings with their cosine to a phrase, best first
Nearest = Callable[[list[str]], list[Ranked]]

MOST_HEARD = 12  # of all that a long prompt names
MOST_THINGS = 5  # that are drawn
MOST_COPIES = 6
SURE = 0.6  # cosine from which an unknown word is drawn beside known ones
PARTS = word_list("parts")
ALWAYS_MANY = word_list("always_many")
ALWAYS_ONE = word_list("always_one")
ANYTHING = word_list("anything")
IDEAS = Phrasebook((word, (word, name)) for word, name in inverted(lexicon("ideas")))


def wanted(
    prompt: str, reading: Reading, library: Library, nearest: Nearest, rng: random.Random
) -> list[Thing]:
    """What is drawn: each thing with its drawings and how many of it."""
    things = [
        thing
        for thing in reading.things[:MOST_HEARD]
        if thing.relation == "and" or singular(thing.phrase.split()[-1]) not in PARTS
    ]
    unknown = [thing.phrase for thing in things if not thing.drawings]
    found = dict(zip(unknown, nearest(unknown), strict=True)) if unknown else {}
    least = SURE if reading.place or len(unknown) < len(things) else 0.0
    things = [
        thing if thing.drawings else likened(thing, found[thing.phrase], library, least) for thing in things
    ]
    things = distinct([thing for thing in things if thing.drawings])[:MOST_THINGS]
    things = things or stand_ins(prompt, reading, library, nearest, rng)
    most = 3 if len(things) == 1 else 2
    return [counted(thing, most, library, rng) for thing in things]


def distinct(things: list[Thing]) -> list[Thing]:
    """Without guesses at what is drawn already: the spell of a wizard is no second wizard."""
    return [
        thing
        for place, thing in enumerate(things)
        if thing.score >= CERTAIN
        or not any(set(thing.drawings) & set(other.drawings) for other in things[:place])
    ]


def likened(thing: Thing, ranked: Ranked, library: Library, least: float) -> Thing:
    """The thing with the drawing that is most like it, emoji first, if it is like it at all."""
    likely = [
        (cosine + 0.05 * (library.kind(key) == "emoji"), key)
        for key, cosine in ranked
        if drawable(library, key)
    ]
    score, key = max(likely, default=(0.0, ""))
    return replace(thing, drawings=(key,), score=round(score, 2)) if key and score >= least else thing


def stand_ins(
    prompt: str, reading: Reading, library: Library, nearest: Nearest, rng: random.Random
) -> list[Thing]:
    """For a prompt that names nothing: what belongs to its place, else what is most like its words."""
    keys = {name: key for key, name in reversed(library.names.items())}  # emoji come first
    if reading.place and reading.place.props:
        return [Thing(reading.place.words[0], (keys[reading.place.props[0]],), 0.5, count=rng.randint(1, 3))]
    words = split(prompt)
    ideas = IDEAS.found(words)
    if ideas:
        return [Thing(ideas[0][0], (keys[ideas[0][1]],), 0.5)]
    book = phrasebook(library)
    strange = " ".join(word for word in words if word.isalpha() and book.at([word], 0) is None)
    if strange:
        thing = likened(Thing(strange), nearest([strange])[0], library, 0.0)
        if thing.drawings:
            return [thing]
    return [Thing("", (keys[rng.choice(sorted(ANYTHING))],))]


def counted(thing: Thing, most: int, library: Library, rng: random.Random) -> Thing:
    """The number said, else two to `most` for a plural, unless the drawing itself shows several."""
    name = split(library.names[thing.drawings[0]])[-1]
    several = (
        (thing.plural or thing.phrase in ALWAYS_MANY)
        and name == singular(name)
        and thing.phrase not in ALWAYS_ONE
    )
    count = max(thing.count, rng.randint(2, most) if several and thing.count < 2 else 1)
    drawings = thing.drawings if count > 1 else (rng.choice(thing.drawings),)
    return replace(thing, count=min(count, MOST_COPIES), drawings=drawings)
