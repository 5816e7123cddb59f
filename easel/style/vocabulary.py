"""Words for looks, lights and places: what the nano model learns, the expander adds, the planner reads."""

import tomllib
from pathlib import Path
from typing import NamedTuple

Phrases = dict[str, tuple[str, ...]]  # key → phrases as users write them
Colours = tuple[str, str, str]  # "#rrggbb" of sky or wall, of ground or table, of accents


class Place(NamedTuple):
    """Where a scene happens."""

    ground: str  # one of scene.GROUNDS
    words: tuple[str, ...]  # that call for it
    colours: Colours
    props: tuple[str, ...] = ()  # names of drawings that belong there
    season: bool = False  # lends its colours to another place
    dense: bool = False  # what belongs there stands all around


def listed(text: str) -> tuple[str, ...]:
    """A list as the data files write it: "watercolour, gouache"."""
    return tuple(" ".join(entry.split()) for entry in text.split(","))


def three_colours(text: str) -> Colours:
    first, second, third = listed(text)
    return first, second, third


def phrases(table: dict[str, str]) -> Phrases:
    return {key: listed(text) for key, text in table.items()}


_DATA = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())

SLOTS: dict[str, Phrases] = {slot: phrases(table) for slot, table in _DATA["slots"].items()}
TECHNIQUES = SLOTS["medium"]
COMPOSITIONS = SLOTS["composition"]
CAMERAS = SLOTS["camera"]
SETTINGS = SLOTS["setting"]
LIGHTS = SLOTS["light"]
MOODS = SLOTS["mood"]
PALETTES = SLOTS["palette"]
TEXTURES = SLOTS["texture"]

SIGNS: dict[str, Phrases] = {slot: phrases(table) for slot, table in _DATA["signs"].items()}
CLASHES: Phrases = phrases(_DATA["clashes"])  # "slot:key" → what does not go with it

COLOURS: dict[str, str] = _DATA["colours"]  # word → "#rrggbb"
MATERIALS: dict[str, str] = _DATA["materials"]
PALETTE_COLOURS = {palette: three_colours(text) for palette, text in _DATA["palette_colours"].items()}
FREE_COLOURS = [three_colours(text) for text in _DATA["free_colours"].values()]  # go with anything

PLACES: tuple[Place, ...] = tuple(
    Place(
        place["ground"],
        listed(place["words"]),
        three_colours(place["colours"]),
        listed(place["props"]) if "props" in place else (),
        place.get("season", False),
        place.get("dense", False),
    )
    for place in _DATA["places"]
)
GROUNDS: Phrases = {  # ground → the words that call for it
    ground: tuple(word for place in PLACES if place.ground == ground for word in place.words)
    for ground in dict.fromkeys(place.ground for place in PLACES)
}
