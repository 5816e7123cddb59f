"""Prompts as users write them, and the scenes planned for them."""

import itertools
import json
import random
from pathlib import Path

import pytest

from easel.catalog import SIZES
from easel.style.plan import Plan, plan
from easel.style.scene import GROUNDS, Library, rgb

LIBRARY = Library(Path(__file__).parent.parent / "easel/checkpoints/nano/drawings.zip")
KEYS = {name: key for key, name in reversed(LIBRARY.names.items())}


def unlike(phrases: list[str]) -> list[list[tuple[str, float]]]:
    """A text encoder to which nothing is like anything: what the table expects is found in words."""
    return [[(KEYS["pager"], 0.1)] for _ in phrases]


def planned(prompt: str, seed: int = 7, size: str = "1:1") -> Plan:
    return plan(prompt, *SIZES[size], seed, LIBRARY, unlike)


def names(prompt: str, seed: int = 7) -> list[str]:
    """The names of the drawings that stand for words of the prompt, in order."""
    return [choice.name for choice in planned(prompt, seed).chosen]


# prompt | one of these drawings for each thing | ground, if the words call for one
TABLE = """
a polar bear | polar bear |
a cowboy | cowboy hat face |
a cat jumping sideways | cat |
A cinematic product photo of a glass lamp on a marble table | desk lamp/bed lamp | table
a portrait of a dancer in a quiet studio | woman dancing/man dancing | table
a campaign image for a new outdoor lamp collection | street light/old lantern |
a red fox in the snow | fox | hills
two foxes and a rabbit in a forest | fox, rabbit | hills
three red balloons | balloon |
cats and dogs | cat, dog |
a mouse and an elephant | mouse, elephant |
a cat wearing a top hat | cat, top hat |
an astronaut riding a horse on the moon | astronaut, horse | night
astronaut cat | astronaut, cat |
a knight in front of a castle | mounted knight, castle |
a boy flying a kite | boy, kite |
a train crossing a bridge | locomotive, stone bridge |
watercolor painting of a lighthouse by the sea | lighthouse | water
a wizard casting a spell | mage/man mage |
a witch stirring a cauldron | woman mage, cauldron |
a pirate ship in a storm | galleon, cloud with lightning and rain |
a dragon flying over a castle | dragon, castle |
a slice of pizza | pizza |
a cup of coffee next to a croissant | hot beverage, croissant |
a bowl of ramen | steaming bowl |
a chef holding a knife in a kitchen | cook/woman cook/man cook, kitchen knife | table
a bouquet of roses in a vase | rose, porcelain vase |
a boy and his dog walking on the beach | boy, dog | hills
a man playing guitar by a campfire | man, guitar, campfire |
a woman dancing | woman dancing |
an old man with a long white beard | old man |
a portrait of a young woman with red hair | woman |
a cat with blue eyes | cat |
a blue car parked on a city street at night | automobile | city
a yellow taxi in new york | taxi | city
a rocket launching into space | rocket | night
pixel art spaceship in space | rocket | night
a robot in the style of van gogh | robot |
a shark, by hokusai, trending on artstation | shark |
a whale jumping out of the water | whale | water
a purple octopus under the sea | octopus | water
a pink flamingo in a lake | flamingo | water
a cactus in the desert | cactus | hills
a polar bear in the desert | polar bear | hills
a cabin in the woods in winter | wood cabin | hills
a castle on a hill | castle | hills
a laptop on a desk | laptop | table
a teddy bear on a bed | teddy bear, bed |
a mermaid on a rock | mermaid, rock |
an owl wearing glasses | owl, glasses |
a penguin with a scarf and a hat | penguin, scarf, top hat |
a treasure chest full of gold coins | open treasure chest, coin |
a heart made of glass | red heart |
a school bus | bus |
luxury watch advertisement | watch |
sticker of a happy avocado | avocado |
logo of a bee | honeybee |
movie poster about a shark | shark |
a poster saying "FREE PIZZA" with a palm tree | palm tree |
minimalist poster of a mountain | mountain/snow-capped mountain |
a tiger, no background | tiger |
a dog without a collar, no cats | dog |
a hot air balloon over the mountains | air balloon, mountain/snow-capped mountain |
a jack-o-lantern | jack-o-lantern |
grapes | grapes |
kittens | cat |
a snowman with a carrot nose | snowman |
children playing football | child/boy/girl, soccer ball |
fireworks over the city | sparkles | city
a lion standing on a rocky cliff at golden hour, ultra detailed, 8k | lion | hills
children's book illustration of a hedgehog and a fox having tea in the forest | hedgehog, fox, teacup without handle | hills
a woman working on a laptop in a cafe, pastel colors, lots of negative space | woman, laptop | table
🦊 in the snow | fox | hills
a capybara in a hot spring | capybara |
an axolotl | axolotl |
happiness | smiling face with smiling eyes |
a desert at noon | cactus | hills
a city at night | automobile | city
"""  # noqa: E501


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: row.split(" | ")[0])
def test_a_prompt_gets_the_drawings_and_the_ground_it_names(row: str) -> None:
    prompt, things, ground = (part.strip() for part in row.split("|"))
    scene = planned(prompt)
    found = [choice.name for choice in scene.chosen]
    wanted = [set(thing.split("/")) for thing in things.split(", ")]
    assert all(any(name in options for options in wanted) for name in found), found
    assert all(options & set(found) for options in wanted), found
    assert scene.scene.ground.kind in ({ground} if ground else set(GROUNDS))


@pytest.mark.parametrize(
    ("prompt", "counts"),
    [
        ("a fox", {1}),
        ("two foxes", {2}),
        ("three foxes", {3}),
        ("a pair of foxes", {2}),
        ("foxes", {2, 3}),
        ("five penguins", {5}),
        ("a dozen eggs", {6}),
        ("grapes", {1}),
        ("two red apples and a lemon", {3}),
    ],
)
def test_as_many_are_drawn_as_the_prompt_says(prompt: str, counts: set[int]) -> None:
    assert {len(planned(prompt, seed).scene.items) for seed in range(6)} <= counts


@pytest.mark.parametrize(
    ("prompt", "tint"),
    [
        ("a red fox", "#d8412f"),
        ("a fox that is blue", "#3470c8"),
        ("a wooden robot", "#a06a3c"),
        ("a glass lamp", "#8cc7d6"),
        ("a heart made of glass", "#8cc7d6"),
        ("a black cat", None),  # there is a drawing of it
        ("a fox on a blue background", None),
    ],
)
def test_colours_and_materials_tint_the_thing_they_stand_by(prompt: str, tint: str | None) -> None:
    assert planned(prompt).scene.items[-1].tint == tint


def test_a_stated_background_is_the_ground() -> None:
    assert planned("a fox on a blue background").scene.ground.colours[0] == "#3470c8"


@pytest.mark.parametrize(
    ("prompt", "technique", "palette", "light"),
    [
        ("a fox, watercolor", "watercolour", None, None),
        ("8-bit fox at night, neon colours", "pixel", "neon", "night"),
        ("a black and white photo of a fox at dawn", None, "monochrome", "dawn"),
        ("a fox, not a watercolor", None, None, None),
    ],
)
def test_the_look_is_read(prompt: str, technique: str | None, palette: str | None, light: str | None) -> None:
    scene = planned(prompt)
    assert (scene.technique, scene.palette, scene.light) == (technique, palette, light)
    assert [choice.name for choice in scene.chosen] == ["fox"]


def test_an_unknown_word_gets_its_nearest_neighbour_and_never_a_banned_one() -> None:
    def nearest(phrases: list[str]) -> list[list[tuple[str, float]]]:
        assert phrases == ["zorilla"]
        return [[(KEYS["suicide"], 0.9), (KEYS["skunk"], 0.8), (KEYS["fox"], 0.1)]]

    assert [choice.name for choice in plan("a zorilla", 512, 512, 1, LIBRARY, nearest).chosen] == ["skunk"]


@pytest.mark.parametrize("prompt", ["", "!!!", "watercolor, 8k, masterpiece", "的", "a " * 2000, "\x00 fox"])
def test_any_text_gives_a_scene(prompt: str) -> None:
    assert planned(prompt).scene.items


PROMPTS = (
    "a fox",
    "a red car",
    "two apples and a pear",
    "a house in the forest",
    "a cat under a tree",
    "a star",
)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_everything_lies_inside_the_frame(prompt: str, size: str) -> None:
    width, height = SIZES[size]
    for seed in range(3):
        for item in planned(prompt, seed, size).scene.items:
            half = item.size * min(width, height) / 2 * 0.9  # a drawing's longer side may be either
            shape = LIBRARY.raster(item.drawing, 64)
            across, down = half * shape.shape[1] / 64, half * shape.shape[0] / 64
            assert across <= item.x * width <= width - across
            assert down <= item.y * height <= height - down


@pytest.mark.parametrize("prompt", ["three balloons", "a cat and a dog", "an apple, a pear and a banana"])
def test_things_side_by_side_do_not_cover_each_other(prompt: str) -> None:
    for seed, size in itertools.product(range(4), SIZES):
        width, height = SIZES[size]
        short = min(width, height)
        boxes = []
        for item in planned(prompt, seed, size).scene.items:
            shape = LIBRARY.raster(item.drawing, 64)
            x, y = item.x * width / short, item.y * height / short
            half_width, half_height = (item.size * side / 128 for side in (shape.shape[1], shape.shape[0]))
            boxes.append((x - half_width, y - half_height, x + half_width, y + half_height))
        for one, other in itertools.combinations(boxes, 2):
            assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_the_same_seed_gives_the_same_scene_and_others_differ() -> None:
    scenes = [json.dumps([repr(planned("a fox", seed).scene)]) for seed in range(8)]
    assert planned("a fox", 3).scene == planned("a fox", 3).scene
    assert len(set(scenes)) == 8


@pytest.mark.parametrize(
    "prompt", ["a polar bear in the snow", "a fox", "a black cat at night", "a lemon, warm"]
)
def test_the_subject_stands_out_from_its_ground(prompt: str) -> None:
    for seed in range(6):
        scene = planned(prompt, seed).scene
        subject = LIBRARY.raster(scene.items[-1].drawing, 64)
        mean = (subject[..., :3] * subject[..., 3:]).sum((0, 1)) / subject[..., 3].sum()
        for ground in scene.ground.colours[:2]:
            assert abs(rgb(ground) - mean).max() > 0.15


def test_the_summary_is_json() -> None:
    summary = planned("a fox in the snow, watercolor").summary()
    assert json.loads(json.dumps(summary))["drawings"][0]["name"] == "fox"


def test_random_prompts_never_fail() -> None:
    rng = random.Random(0)
    words = " ".join(TABLE.replace("|", " ").split()).split()
    for seed in range(60):
        assert planned(
            " ".join(rng.choices(words, k=rng.randint(1, 25))), seed, rng.choice(list(SIZES))
        ).scene.items
