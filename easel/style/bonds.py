"""What the words of a prompt bind its scene to: a polar bear to snow, a storm to rain, an owl to the night.

Phrases that have nothing in common contradict each other, so that one is not added where the other is said.
"""

import tomllib
from functools import lru_cache
from pathlib import Path

from easel.style.nouns import phrasebook
from easel.style.parse import parse
from easel.style.scene import Library
from easel.style.things import group_of
from easel.style.vocabulary import PLACES, listed
from easel.style.words import Phrasebook, refusals, split

Bonds = dict[str, frozenset[str]]  # of a setting, a light, a sky, a weather: which are left; all, if absent

SKIES = {"hills": "open", "water": "open", "city": "open", "night": "open", "table": "roofed"}  # of grounds

_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
TABLES: list[dict[str, str]] = _DATA["bonds"]


def bonds(table: dict[str, str]) -> Bonds:
    return {name: frozenset(listed(values)) for name, values in table.items() if name != "words"}


def book() -> Phrasebook[Bonds]:
    """All words that bind, with all that they do."""
    meant: dict[str, Bonds] = {}
    for table in TABLES:
        for phrase in listed(table["words"]):
            meant[phrase] = met(meant.get(phrase, {}), bonds(table))
    for place in PLACES:
        for word in place.words if place.ground in SKIES else ():
            meant[word] = met({"sky": frozenset((SKIES[place.ground],))}, meant.get(word, {}))
    return Phrasebook(meant.items())


def met(*several: Bonds) -> Bonds:
    """What is left by all of them."""
    left: Bonds = {}
    for one in several:
        left |= {name: left.get(name, values) & values for name, values in one.items()}
    return left


def agree(one: Bonds, other: Bonds) -> bool:
    """Whether they leave something of all that both of them bind."""
    return all(one[name] & other[name] for name in one.keys() & other.keys())


GROUPS: dict[str, Bonds] = {group: bonds(table) for group, table in _DATA["groups"].items()}
BOOK = book()


@lru_cache(maxsize=512)
def bound(phrase: str) -> Bonds:
    """What a phrase binds to, by its words."""
    return met(*BOOK.found(split(phrase)))


def scene_of(prompt: str, library: Library) -> Bonds:
    """What a prompt binds to: by the words that it does not refuse, and by the drawings of its things."""
    words = split(prompt)
    refused = refusals(words)
    found = BOOK.found([word for word in words if word not in refused])
    drawings = [key for thing in parse(prompt, phrasebook(library)).things for key in thing.drawings]
    for key in drawings:
        name = split(library.names[key])
        length, meant = BOOK.at(name, 0) or (0, {})
        found += [meant] if length == len(name) else []
    found += [GROUPS.get(group_of(key, library), {}) for key in drawings[:1]]
    return met(*found)
