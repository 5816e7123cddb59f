"""What is read in a moodboard, and what acts of it. Alone: python -m pytest tests/test_taste.py"""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from test_look import look, plain
from test_plan import LIBRARY

from easel.catalog import MODELS, Model
from easel.model.latents import to_picture
from easel.model.look import TECHNIQUES, lay, sample_look
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Alike, Materials, Mood, Painting, Reference, Taste
from easel.style.expand import expand
from easel.style.looks import joined
from easel.style.moodboards import acting
from easel.style.painter import NanoPainter
from easel.style.taste import clusters_of, directions
from easel.style.vocabulary import SLOTS

QUICK = Model("quick", "Quick", "turbo", 1, 0.0, MODELS["medium"].prices)


def pictures(technique: str, palette: str, count: int) -> list[Image.Image]:
    """One scene in looks of one technique and palette."""
    x, cover = plain(384)
    looks = [sample_look(random.Random(n), "noto", technique, palette) for n in range(count)]
    return [to_picture(lay(x, cover, one, 0.75, n)[None]) for n, one in enumerate(looks)]


def paint(painter: NanoPainter, board: list[Image.Image], taste: Taste, strength: float) -> Painting:
    shown = [Reference(board[place], s) for place, s in acting(taste.clusters, strength, seed=3)]
    asked = GenerationRequest(prompt="a fox", creativity="low")
    return painter.paint(
        asked, Materials(shown, Mood(taste.keywords, taste.avoids)), QUICK, 3, lambda step: None
    )


def test_a_board_of_one_direction_is_read_as_such_and_pulls_towards_it(painter: NanoPainter) -> None:
    board = pictures("halftone", "ocean", 6)
    taste = painter.analyse(iter(board))
    assert {cluster.direction for cluster in taste.clusters} == {0}
    assert sum(cluster.weight for cluster in taste.clusters) == pytest.approx(1)
    assert "6 pictures in one direction. Halftone print" in taste.profile
    assert "halftone print" in taste.keywords
    assert not set(taste.keywords) & set(taste.avoids)
    assert sum(swatch.weight for swatch in taste.palette) <= 1.01

    painted = paint(painter, board, taste, 0.35)
    assert painted.prompt.startswith("a fox, halftone print")
    [laid] = [one for one in painted.details["looks"] if one["technique"] == "halftone"]
    assert laid["strength"] > 0.9  # the words say what the pictures show

    def redness(picture: Image.Image) -> float:
        red, _, blue = np.asarray(picture, dtype=float).mean((0, 1))
        return red - blue

    away = painter.paint(
        GenerationRequest(prompt="a fox", creativity="raw"),
        Materials([Reference(board[0], -0.5)]), QUICK, 3, lambda step: None,
    )  # fmt: skip
    assert redness(painted.image) < redness(away.image)


def test_a_board_of_two_directions_is_told_apart(painter: NanoPainter) -> None:
    board = pictures("halftone", "ocean", 4) + pictures("chalk", "noir", 2)
    taste = painter.analyse(iter(board))
    by_direction: dict[int, set[bool]] = {}
    for cluster in taste.clusters:
        by_direction.setdefault(cluster.direction, set()).add(cluster.medoid < 4)
    assert all(len(kinds) == 1 for kinds in by_direction.values())
    assert len(by_direction) >= 2
    assert "halftone print" in taste.keywords
    assert "chalk drawing" not in taste.keywords
    assert "chalk drawing" in taste.profile.lower()


@pytest.mark.parametrize("count", [1, 2])
def test_a_board_of_one_or_of_two_equal_pictures_is_read(painter: NanoPainter, count: int) -> None:
    taste = painter.analyse(iter([Image.new("RGB", (64, 48), "orange")] * count))
    assert [(cluster.medoid, cluster.weight) for cluster in taste.clusters] == [(0, 1)]
    assert taste.profile.startswith(f"{count} picture")


def test_what_the_pictures_raise_ends_the_reading(painter: NanoPainter) -> None:
    def broken():
        yield Image.new("RGB", (64, 48))
        raise KeyError("broken")

    with pytest.raises(KeyError):
        painter.analyse(broken())


def test_directions_are_never_more_than_eight() -> None:
    far = np.full((200, 200), 2.0) - 2 * np.eye(200)
    groups = directions(far)
    assert len(groups) == 8
    assert sorted(place for group in groups for place in group) == list(range(200))
    assert sum(len(members) for _, members in clusters_of(groups[0], far)) == len(groups[0])


def test_the_seed_picks_directions_as_often_as_they_weigh_and_strengths_add_up() -> None:
    clusters = [Alike(0, 0.3, 0), Alike(1, 0.3, 0), Alike(2, 0.2, 1), Alike(3, 0.2, 2)]
    picked: Counter[int] = Counter()
    for seed in range(400):
        chosen = acting(clusters, 0.35, seed)
        assert chosen == acting(clusters, 0.35, seed)
        assert sum(strength for _, strength in chosen) == pytest.approx(0.35)
        directions = {clusters[place].direction for place, _ in chosen}
        assert len(directions) == 1
        picked.update(directions)
    assert picked[0] == pytest.approx(240, abs=40)
    assert picked[1] == pytest.approx(80, abs=30)


def test_four_of_many_clusters_act_and_they_rotate() -> None:
    clusters = [Alike(place, 1 / 8, 0) for place in range(8)]
    chosen = [acting(clusters, -0.5, seed) for seed in range(30)]
    assert {len(one) for one in chosen} == {4}
    assert {strength for one in chosen for _, strength in one} == {-0.125}
    assert {place for one in chosen for place, _ in one} == set(range(8))


def test_looks_of_one_technique_are_joined_and_others_stay() -> None:
    first, second, other = look("halftone", seed=1), look("halftone", "noir", seed=2), look("chalk")
    (both, strength), rest = joined([(first, 0.5), (second, 0.25), (other, 0.1)])
    assert (both.numbers, strength) == (first.numbers, 0.75)
    assert both.amount == pytest.approx((0.5 * first.amount + 0.25 * second.amount) / 0.75)
    assert rest == (other, 0.1)


@pytest.mark.parametrize("creativity", ["low", "medium", "high"])
def test_keywords_join_the_prompt_unless_it_says_otherwise_and_avoids_stay_out(creativity: str) -> None:
    mood = Mood(["linocut print", "sunset palette"], ["at night", "calm mood", "by the sea"])
    for seed in range(30):
        text = expand("a watercolour of a fox", creativity, seed, False, LIBRARY, mood=mood)
        assert text.startswith("a watercolour of a fox, sunset palette, ")
        assert "linocut" not in text
        for slot, key in (("light", "night"), ("mood", "calm"), ("setting", "sea")):
            assert not any(phrase in text for phrase in SLOTS[slot][key])


def test_raw_takes_no_keywords_and_what_is_avoided_is_no_keyword() -> None:
    assert expand("a fox", "raw", 1, False, LIBRARY, mood=Mood(["linocut print"])) == "a fox"
    text = expand(
        "a fox", "low", 1, True, LIBRARY, mood=Mood(["Linocut print", "chalk drawing"], ["linocut"])
    )
    assert text.startswith("a fox, chalk drawing")
    assert "Linocut" not in text


def test_every_technique_of_the_reader_has_words() -> None:
    assert set(TECHNIQUES) - {"plain"} <= set(SLOTS["medium"])
