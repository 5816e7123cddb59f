"""Prompts as words, and the longest known phrases that stand in them: shared by expander and planner."""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from easel.style.vocabulary import PLACES, SETTINGS, SIGNS, SLOTS, Phrases, Place, listed

T = TypeVar("T")

LEXICON: dict[str, Any] = tomllib.loads(Path(__file__).with_name("lexicon.toml").read_text())


def word_list(name: str) -> frozenset[str]:
    return frozenset(listed(LEXICON["words"][name]))


REFUSALS = word_list("refusals")
NOT_VERBS = word_list("not_verbs")
PLURALS: dict[str, str] = LEXICON["plurals"]  # irregular ones → the singular

QUOTED = re.compile(r"\"[^\"]*\"|“[^”]*”|«[^»]*»|(?<!\w)['\u2018][^'\u2019]{2,}['\u2019](?!\w)")
WORD = re.compile(r"[^\W_]+|'s\b|[,.;:!?()]|[\u2600-\u27bf\U0001f300-\U0001faff]")
STOPS = frozenset(",.;:!?()")
SWITCHES = frozenset(("but", "with", "just", "only"))  # end what is refused, as marks do


def split(text: str) -> list[str]:
    """Lower-case words, marks and emoji, in order; text in quotes is left out."""
    return WORD.findall(QUOTED.sub(" , ", text).lower().replace("\u2019", "'"))


def singular(word: str) -> str:
    """The word without its plural ending, if it has one."""
    if word in PLURALS:
        return PLURALS[word]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "zes")):
        return word[:-2]
    return word[:-1]


class Phrasebook(Generic[T]):
    """Phrases of one word or more, each with its meaning; of two meanings the first given counts."""

    def __init__(self, entries: Iterable[tuple[str, T]]):
        self._meanings: dict[tuple[str, ...], T] = {}
        for phrase, meaning in entries:
            self._meanings.setdefault(tuple(split(phrase)), meaning)
        self._longest = max(map(len, self._meanings))

    def at(self, words: Sequence[str], start: int) -> tuple[int, T] | None:
        """The longest phrase, in singular or plural, that begins at `start`: its length and meaning."""
        for length in range(min(self._longest, len(words) - start), 0, -1):
            phrase = tuple(words[start : start + length])
            for form in (phrase, (*phrase[:-1], singular(phrase[-1]))):
                if form in self._meanings:
                    return length, self._meanings[form]
        return None

    def found(self, words: Sequence[str]) -> list[T]:
        """The meanings of all phrases in the words, from left to right, the longest first."""
        meanings: list[T] = []
        start = 0
        while start < len(words):
            match = self.at(words, start)
            if match:
                meanings.append(match[1])
            start += match[0] if match else 1
        return meanings


def inflected(word: str) -> str | None:
    """What the ending makes of a word that is no known noun: "verb", "filler" or nothing."""
    if word not in NOT_VERBS and len(word) > 4:
        if word.endswith("ing"):
            return "verb"
        if word.endswith(("ly", "ed", "ish", "ous", "ful", "less", "ive", "able", "esque")):
            return "filler"
    return None


def inverted(table: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """key → phrases as (phrase, key)."""
    return [(phrase, key) for key, phrases in table.items() for phrase in phrases]


def refusals(words: list[str]) -> list[str]:
    """The words that follow "no", "without" and the like, up to the next mark or "but"."""
    refused, refusing = [], False
    for word in words:
        if word in REFUSALS:
            refusing = True
        elif word in STOPS or word in SWITCHES:
            refusing = False
        elif refusing:
            refused.append(word)
    return refused


def lexicon(table: str) -> Phrases:
    """A table of the lexicon as key → phrases."""
    return {key: listed(text) for key, text in LEXICON[table].items()}


def setting(place: Place) -> str:
    """The key of SETTINGS that a place belongs to, else its ground."""
    return next((key for key in SETTINGS if key in place.words), place.ground)


def looks_book() -> Phrasebook[list[tuple[str, str]]]:
    """All phrases that say something of a slot, with the slots and keys they mean."""
    meant: dict[str, list[tuple[str, str]]] = {}
    for table in (SLOTS, SIGNS):
        for slot, phrases in table.items():
            for phrase, key in inverted(phrases):
                meant.setdefault(phrase, []).append((slot, key))
    for place in PLACES:
        for word in place.words:
            meant.setdefault(word, []).append(("setting", setting(place)))
    return Phrasebook(meant.items())


LOOKS = looks_book()


def looks(words: list[str]) -> list[tuple[str, str]]:
    """What the words say, as (slot, key) in their order; "none" is the key of what they refuse."""
    refused = [look for meant in LOOKS.found(refusals(words)) for look in meant]
    said = [look for meant in LOOKS.found(words) for look in meant]
    return [(slot, "none") if (slot, key) in refused else (slot, key) for slot, key in said]
