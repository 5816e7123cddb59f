"""Creativity: what is added to a prompt, and what never is."""

import pytest
from test_plan import LIBRARY

from easel.style.expand import expand, stated
from easel.style.vocabulary import CLASHES, PALETTES, SLOTS, TECHNIQUES, TEXTURES
from easel.style.words import looks, split

LEVELS = ("low", "medium", "high")
SEEDS = range(40)
PROMPTS = (
    "a fox",
    "a dancer in a quiet studio",
    "A cinematic product photo of a glass lamp on a marble table",
    "a watercolor painting of a lighthouse in a storm, muted colours",
    "a red fox in the snow, no shadows",
    'a poster saying "HELLO WORLD" with a whale.',
)


def added(prompt: str, creativity: str, seed: int, styled: bool = False) -> str:
    text = expand(prompt, creativity, seed, styled, LIBRARY)
    assert text.startswith(prompt)
    return text[len(prompt) :]


def test_raw_is_verbatim() -> None:
    assert all(expand(prompt, "raw", 1, False, LIBRARY) == prompt for prompt in PROMPTS)


@pytest.mark.parametrize(("creativity", "counts"), [("low", {1, 2}), ("medium", {3, 4}), ("high", {8})])
def test_an_open_prompt_gets_as_many_phrases_as_its_creativity(creativity: str, counts: set[int]) -> None:
    seen = {added("a fox", creativity, seed).count(",") for seed in SEEDS}
    assert seen == counts


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_slot_that_is_filled_is_left_alone(prompt: str) -> None:
    filled = {slot for slot, _ in looks(split(prompt))}
    for seed in SEEDS:
        assert not filled & {slot for slot, _ in looks(split(added(prompt, "high", seed)))}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("creativity", LEVELS)
def test_references_forbid_words_that_name_a_look(prompt: str, creativity: str) -> None:
    for seed in SEEDS:
        text = added(prompt, creativity, seed, styled=True)
        for look in (TECHNIQUES, PALETTES, TEXTURES, SLOTS["mood"]):
            assert not any(phrase in text for phrases in look.values() for phrase in phrases)


@pytest.mark.parametrize("prompt", [*PROMPTS, "a bear at night", "a bear in space", "a city, film noir"])
def test_nothing_contradicts_the_prompt_or_itself(prompt: str) -> None:
    for seed in SEEDS:
        facts = stated(split(expand(prompt, "high", seed, False, LIBRARY)))
        assert not [(one, other) for one in facts for other in CLASHES.get(one, ()) if other in facts]


@pytest.mark.parametrize(
    ("prompt", "never"),
    [
        ("a polar bear at night", ("daylight", "sunshine", "dawn", "golden hour")),
        (
            "a robot in a studio",
            ("in a green meadow", "in a forest", "city street", "sunshine", "on a beach"),
        ),
        ("a blue car", tuple(phrase for phrases in PALETTES.values() for phrase in phrases)),
        ("a fox, no shadows", ("shadow",)),
        ("a fox without grain", ("grain",)),
        ("a house, no trees", ("in a forest", "meadow")),
    ],
)
def test_what_the_prompt_rules_out_is_not_added(prompt: str, never: tuple[str, ...]) -> None:
    for seed in SEEDS:
        assert not any(word in added(prompt, "high", seed) for word in never)


def test_seeds_give_different_prompts_and_one_seed_the_same() -> None:
    texts = [expand("a fox", "medium", seed, False, LIBRARY) for seed in SEEDS]
    assert len(set(texts)) >= 38
    assert expand("a fox", "medium", 5, False, LIBRARY) == texts[5]


def test_a_long_prompt_stays_under_500_tokens() -> None:
    for length in (50, 200, 240, 900):
        text = expand("fox " * length, "high", 1, False, LIBRARY)
        assert len(text.split()) <= max(length, 400)


def test_a_clause_that_means_a_slot_fills_it() -> None:
    def similarity(some: list[str], others: list[str]) -> list[list[float]]:
        return [[0.9 if "sundown" in one and "sunset" in other else 0.0 for other in others] for one in some]

    for seed in SEEDS:
        text = expand("a fox, sundown", "high", seed, False, LIBRARY, similarity)
        assert "light" not in dict(looks(split(text)))


def test_every_key_that_clashes_is_a_key() -> None:
    known = {f"{slot}:{key}" for slot in SLOTS for key in SLOTS[slot]}
    assert {option for options in CLASHES.values() for option in options} <= known | {"composition:pattern"}
