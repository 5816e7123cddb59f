"""What is never added to a prompt, since it would contradict its place, its weather or its hour.

python -m pytest tests/test_bonds.py
"""

from itertools import product

import pytest
from test_plan import LIBRARY

from easel.schema.painting import Mood
from easel.style.bonds import GROUPS, TABLES, bonds, scene_of
from easel.style.expand import expand, placed
from easel.style.vocabulary import SLOTS

DRY = "desert", "dunes"
COLD = ("snow",)
LAND = "meadow", "rolling hills", "open field", "a forest", "mountains", "valley"
CITY = ("city",)
SHORE = "by the sea", "at the lake", "water's edge", "beach"
ROOM = "table", "a quiet studio", "studio backdrop"
PLAIN = "background", "backdrop"
PARTY = "floating lights", "bokeh lights"
SUN = "daylight", "midday", "sunshine"
DAY = *SUN, "dawn", "sunrise", "morning light"
NIGHT = "night", "moonlight", "starry"
STARS = ("starry",)
LAMPS = "studio light", "softbox"

# A prompt, and what must not follow it.
NEVER = {
    # weather
    "a lighthouse in a storm": (*DRY, *COLD, *LAND, *CITY, *ROOM, *PLAIN, *PARTY, *SUN, *STARS),
    "a cup of coffee on a rainy morning": (*DRY, *COLD, *LAND, *SHORE, *CITY, *PLAIN, *NIGHT, *SUN),
    "a deer in the mist": (*DRY, *ROOM, *PLAIN, *PARTY, *SUN, *STARS),
    "lightning": (*DRY, *COLD, *ROOM, *PLAIN, *PARTY, *SUN, *STARS),
    "a woman with an umbrella in the rain": (*DRY, *COLD, *ROOM, *PLAIN, *PARTY, *SUN, *STARS),
    "a rainbow after the rain": (*DRY, *COLD, *ROOM, *PLAIN, *PARTY, *NIGHT),
    "a tornado": (*DRY, *COLD, *ROOM, *PLAIN, *SUN, *STARS),
    "a village in a blizzard": (*DRY, *SHORE, *ROOM, *PLAIN, *SUN, *STARS),
    # climates
    "a polar bear": (*DRY, *LAND, *CITY, *ROOM, *PARTY),
    "a penguin colony": (*DRY, *LAND, *CITY, *ROOM, *PARTY),
    "an igloo": (*DRY, *LAND, *CITY, *ROOM, *LAMPS),
    "a snowman with a scarf": (*DRY, *SHORE, *CITY, *ROOM),
    "a skier jumping": (*DRY, *SHORE, *CITY, *ROOM),
    "a reindeer": (*DRY, *SHORE, *CITY, *ROOM),
    "a camel caravan": (*COLD, *LAND, *SHORE, *CITY, *ROOM),
    "a cactus": (*COLD, *LAND, *SHORE, *CITY),
    "two giraffes": (*COLD, "a forest", "mountains", *SHORE, *CITY, *ROOM),
    "a tiger": (*DRY, *COLD, *SHORE, *CITY, *ROOM),
    "a toucan": (*DRY, *COLD, *SHORE, *CITY, *ROOM),
    "a palm tree": (*COLD, *LAND, *ROOM),
    "Santa Claus": (*DRY, *SHORE),
    # water
    "a whale jumping": (*DRY, *COLD, *LAND, *CITY, *ROOM, *PARTY, "beach"),
    "a shark": (*DRY, *COLD, *LAND, *CITY, *PARTY, "table"),
    "a coral reef with fish": (*DRY, *COLD, *LAND, *CITY, *ROOM, *SHORE, *NIGHT, *LAMPS),
    "an old pirate ship": (*DRY, *COLD, *LAND, *CITY, *ROOM, *PARTY, *LAMPS),
    "a surfer on a big wave": (*DRY, *COLD, *LAND, *CITY, "table", *PARTY, *NIGHT),
    "a mermaid": (*DRY, *COLD, *LAND, *CITY, "table"),
    "a sandcastle": (*DRY, *COLD, *LAND, *CITY, *ROOM, *NIGHT),
    "a duck with ducklings": (*DRY, *COLD, *CITY, "table"),
    "a goldfish in a bowl": (*DRY, *COLD, *LAND, *CITY, *SHORE),
    # hours
    "an owl": (*DAY, "table"),
    "a bat": (*DAY, "table"),
    "a ghost": (*DAY, "table"),
    "fireworks": (*DAY, *ROOM, *PARTY),
    "a full moon": DAY,
    "the northern lights": (*DAY, *ROOM),
    "a campfire under the stars": (*DAY, *LAMPS),
    "a sunrise": (*NIGHT, *ROOM, *PARTY),
    "a bee on a flower": (*DRY, *COLD, *SHORE, *CITY, *NIGHT),
    "a butterfly": (*DRY, *COLD, *SHORE, *CITY, *NIGHT),
    "a child flying a kite": (*NIGHT, "table", *PARTY),
    "a picnic": (*NIGHT, *LAMPS),
    # under the sky
    "a sailboat on a lake": LAMPS,
    "a waterfall": LAMPS,
    "a couple walking in the park": LAMPS,
    "a farm with cows": LAMPS,
    "a hot air balloon": (*NIGHT, *LAMPS, *ROOM),
    "an airplane above the clouds": LAMPS,
    "a rocket launch": (*ROOM, *PARTY, *LAMPS),
    "a castle on a hill": LAMPS,
    "a skyscraper": (*DRY, *COLD, *LAND, *SHORE, *ROOM, *PARTY),
    "a yellow taxi": (*DRY, *COLD, *LAND, *SHORE, *ROOM, *PARTY),
    "a tractor": (*DRY, *SHORE, *CITY, *ROOM, *PARTY),
    "a cow": (*DRY, *SHORE, *CITY, "table", *PARTY),
    "a red car": (*ROOM, *PARTY),
    "a treehouse": (*DRY, *SHORE, *ROOM, *LAMPS),
    "a moonlit cemetery": (*ROOM, *PARTY, *DAY, *LAMPS),
    "a thunderstorm over the plains": (*DRY, *COLD, *SHORE, *CITY, "a forest", "mountains", *ROOM, *PLAIN),
    "a volcano": (*CITY, *ROOM, *PARTY, "meadow"),
    "mars seen from orbit": (*DAY, *LAMPS),
    # under a roof
    "a bookshelf in a library": (*STARS, "sunshine"),
    "a laptop on a desk": (*STARS, "sunshine"),
    "a cosy living room with a fireplace": (*STARS, "sunshine"),
    "a cat asleep on a bed in a bedroom": (*STARS, "sunshine"),
    "a woman reading by the window": (*DRY, *COLD, *LAND, *SHORE, *CITY, "table", *STARS, "sunshine"),
    "a bathtub": (*DRY, *COLD, *LAND, *SHORE, *CITY, *STARS),
    "a grand piano": (*DRY, *COLD, *LAND, *SHORE, *CITY, *STARS),
    "a bowl of ramen": (*DRY, *COLD, *LAND, *SHORE, *CITY),
    "a slice of pizza": (*DRY, *COLD, *LAND, *SHORE, *CITY),
    "a teapot": (*DRY, *COLD, *LAND, *SHORE, *CITY),
    "a violin": (*DRY, *COLD, *LAND, *SHORE, *CITY),
    "a lamp": (*DRY, *COLD, *LAND, *SHORE, *CITY),
    "a robot": ("table",),
    "a portrait of an old man": ("table",),
}


@pytest.mark.parametrize(("prompt", "never"), NEVER.items())
def test_nothing_that_contradicts_the_prompt_is_added(prompt: str, never: tuple[str, ...]) -> None:
    for creativity, seed in product(("low", "medium", "high"), range(20)):
        added = expand(prompt, creativity, seed, False, LIBRARY)[len(prompt) :]
        assert not [words for words in never if words in added], added


@pytest.mark.parametrize(
    ("prompt", "bound_to"),
    [
        ("a fox, no rain", {}),
        ("a moon cake", {}),
        ("a trout", {"setting": {"plain", "sea"}}),
        ("a ship's bell in a storm at sea", {"sky": {"open"}, "weather": {"rain", "snow"}}),
    ],
)
def test_a_prompt_is_bound_by_its_words_and_by_its_drawings(
    prompt: str, bound_to: dict[str, set[str]]
) -> None:
    scene = scene_of(prompt, LIBRARY)
    assert {name: scene.get(name) for name in bound_to} == bound_to
    assert "light" not in scene


def test_the_keywords_of_a_board_bind_too() -> None:
    for seed in range(20):
        added = expand("a cottage", "high", seed, False, LIBRARY, mood=Mood(["fireflies"]))
        assert not [words for words in DAY if words in added], added


def test_what_is_added_goes_together() -> None:
    for slot, phrases in SLOTS.items():
        for key, options in phrases.items():
            for phrase in options:
                assert all(placed(slot, key, phrase).values()), phrase


def test_words_are_bound_to_what_there_is() -> None:
    there = {
        "setting": set(SLOTS["setting"]),
        "light": set(SLOTS["light"]),
        "sky": {"open", "roofed", "water"},
        "weather": {"clear", "rain", "snow", "fog"},
    }
    for one in (*GROUPS.values(), *map(bonds, TABLES)):
        assert all(values <= there[name] for name, values in one.items()), one
    assert set(GROUPS) <= set(LIBRARY.groups.values())
