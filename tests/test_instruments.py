"""Start picture, intensity, complexity and movement. Alone: python -m pytest tests/test_instruments.py"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from easel.catalog import MODELS, SIZES, Model
from easel.model import flow
from easel.model.latents import to_tensor
from easel.model.palette import oklab, toned
from easel.model.repaint import painted_out, plainer, subject
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Painting, Reference
from easel.style.compose import pressed
from easel.style.painter import NanoPainter
from easel.style.plan import Plan, plan
from easel.style.scene import Library, draw, draw_ground
from easel.style.start import drawn_over, started

LIBRARY = Library(Path(__file__).parent.parent / "easel/checkpoints/nano/drawings.zip")
QUICK = Model("quick", "Quick", "turbo", 1, 0.0, MODELS["medium"].prices)
PROMPTS = (
    "a fox on a hill",
    "a cup of coffee on a table",
    "a sailboat by the sea",
    "an owl at night",
    "a blue car in the city",
    "a pineapple",
    "two rabbits in a forest",
    "a seamless pattern of bees",
)
LEVELS = (-1, -0.5, 0, 0.5, 1)


def paint(painter: NanoPainter, start: Image.Image | None = None, references=(), **request) -> Painting:
    materials = Materials(references, start=start)
    asked = GenerationRequest(**{"prompt": "a fox", "creativity": "raw", **request})
    return painter.paint(asked, materials, QUICK, 7, lambda step: None)


@pytest.fixture(scope="module")
def plain(painter) -> Image.Image:
    """What is painted without any of this."""
    return paint(painter).image


def planned(prompt: str, complexity: float = 0, movement: float = 0, size: str = "1:1") -> Plan:
    def unlike(phrases: list[str]) -> list[list[tuple[str, float]]]:
        return [[] for _ in phrases]

    return plan(prompt, *SIZES[size], 3, LIBRARY, unlike, complexity, movement)


def disc(size: tuple[int, int] = (640, 480)) -> Image.Image:
    """A red disc left of the middle, over sky and land."""
    picture = Image.new("RGB", size, "#9fd3e6")
    pen = ImageDraw.Draw(picture)
    pen.rectangle([0, 300, *size], fill="#5b8f4d")
    pen.ellipse([100, 180, 260, 340], fill="#d02020")
    return picture


def apart(one: Image.Image, other: Image.Image) -> float:
    x, y = (
        oklab(to_tensor(p.resize((96, 96), Image.Resampling.BOX))[0].movedim(0, -1)) for p in (one, other)
    )
    return float((x - y).norm(dim=-1).mean())


# the instruments


def test_neutral_instruments_change_no_byte(painter, plain):
    neutral = paint(painter, intensity=0, complexity=0, movement=0, strength=0.4)
    assert neutral.image.tobytes() == plain.tobytes()


def test_intensity_raises_colour_and_contrast_in_the_picture(painter):
    def strong(intensity: int) -> float:
        lab = oklab(to_tensor(paint(painter, intensity=intensity).image)[0].flatten(1).T)
        return float(lab[:, 1:].norm(dim=1).mean() * lab[:, 0].std())

    measured = [strong(intensity) for intensity in (-100, 0, 100)]
    assert measured == sorted(set(measured))


def test_tones_at_0_are_untouched_and_stay_within_black_and_white():
    x = torch.rand(3, 24, 32)
    assert toned(x, 0) is x
    assert all(toned(x, i).min() >= 0 and toned(x, i).max() <= 1 for i in (-1, 1))


@pytest.mark.parametrize(
    ("strength", "intensity", "expected"),
    [(0.5, 0, 0.5), (0.5, 1, 0.7), (0.5, -1, 0.3), (0.9, 1, 1), (1, 1, 1), (1.2, 0.5, 1.2), (1.2, -1, 0.72)],
)
def test_intensity_presses_marks_up_to_their_full_strength(strength, intensity, expected):
    assert pressed(strength, intensity) == pytest.approx(expected)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_complexity_adds_around_the_subject_and_leaves_it_what_it_is(prompt):
    plans = [planned(prompt, complexity) for complexity in LEVELS]
    counts = [len(plan.scene.items) for plan in plans]
    assert counts == sorted(counts)
    assert counts[-1] > counts[2]
    assert len({plan.chosen for plan in plans}) == 1
    assert len({plan.scene.items[-1].drawing for plan in plans}) == 1


@pytest.mark.parametrize("kind", ["a fox on a hill", "a pineapple on a table", "a sailboat by the sea"])
def test_a_ground_has_more_marks_the_more_complex_it_is(kind):
    def unevenness(complexity: float) -> float:
        canvas = draw_ground(planned(kind, complexity).scene.ground, 256, 256)
        return float(np.abs(np.diff(canvas, axis=0)).mean() + np.abs(np.diff(canvas, axis=1)).mean())

    measured = [unevenness(complexity) for complexity in LEVELS]
    assert measured == sorted(set(measured))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_movement_tilts_and_its_opposite_levels(prompt):
    still, calm, half, full = (planned(prompt, movement=m) for m in (0, -1, 0.5, 1))
    assert [abs(p.scene.ground.tilt) for p in (calm, still, half, full)] == [0, 0, 5, 10]
    assert all(item.angle == 0 for item in calm.scene.items)
    assert [item.drawing for item in full.scene.items] == [item.drawing for item in still.scene.items]
    lean = [full.scene.items[-1].angle - still.scene.items[-1].angle for full in (half, full)]
    assert abs(lean[1]) > abs(lean[0]) >= 5


def test_a_ground_at_rest_is_its_own_mirror_image_all_but():
    moved, level = (
        draw_ground(planned("a fox on a hill", movement=m).scene.ground, 128, 128) for m in (0, -1)
    )
    assert np.abs(level - level[:, ::-1]).mean() < 0.2 * np.abs(moved - moved[:, ::-1]).mean()


@pytest.mark.parametrize("size", SIZES)
def test_everything_stays_within_reach_of_the_frame(size):
    scene = planned("three foxes and a tree on a hill", 1, 1, size).scene
    assert all(0 < item.x < 1 and 0 < item.y < 1 for item in scene.items)


def test_the_plan_tells_what_the_instruments_did(painter):
    summary = paint(painter, prompt="a fox on a hill", complexity=100, movement=-50).details["plan"]
    assert len(summary["around"]) > 3
    assert (summary["detail"], summary["tilt"]) == (1, 0)
    assert [drawing["name"] for drawing in summary["drawings"]] == ["fox"]


# the start picture


def test_strength_0_gives_the_picture_back_cut_to_the_frame_whatever_the_look(painter):
    back = paint(painter, disc((1376, 768)), [Reference(disc(), 1)], strength=0, prompt="a fox, linocut")
    whole = np.asarray(
        disc((1376, 768)).crop((304, 0, 1072, 768)).resize((1024, 1024), Image.Resampling.LANCZOS)
    )
    assert np.abs(np.asarray(back.image).astype(int) - whole).mean() < 1
    assert back.details["start"] == {"strength": 0, "keeps": "shapes"}


def test_strength_1_is_as_without_the_picture(painter, plain):
    with_it = paint(painter, disc(), strength=1)
    assert with_it.image.tobytes() == plain.tobytes()


def test_the_stronger_the_farther_from_the_picture(painter):
    strengths = (0, 0.4, 0.5, 0.8, 1)
    whole = disc().crop((80, 0, 560, 480))
    paintings = [paint(painter, disc(), strength=s, prompt="a lemon") for s in strengths]
    away = [apart(painting.image, whole) for painting in paintings]
    assert away == sorted(away)
    kept = [painting.details["start"]["keeps"] for painting in paintings]
    assert kept == ["shapes", "shapes", "ground", "colours", "colours"]


def test_a_weaker_start_takes_fewer_steps(painter):
    def steps(strength: float) -> int:
        told: list[object] = []
        asked = GenerationRequest(prompt="a fox", strength=strength)
        painter.paint(asked, Materials(start=disc()), MODELS["medium"], 7, told.append)
        return len(told)

    assert [steps(strength) for strength in (0, 0.5, 1)] == [0, 3, 8]


def test_things_stand_where_the_subject_stood():
    start = started(disc(), (480, 480), 0.6)
    _, cover = drawn_over(start, planned("a lemon"), LIBRARY.by("noto"))
    columns = np.flatnonzero(cover.max(0) > 0.5)
    assert abs(columns.mean() - 100) < 30  # the disc's middle, cut to the frame


def test_things_are_not_cut_off_where_the_subject_was_high_and_wide():
    picture = Image.new("RGB", (480, 480), "#9fd3e6")
    ImageDraw.Draw(picture).rectangle([60, 30, 420, 200], fill="#d02020")
    _, cover = drawn_over(started(picture, (480, 480), 0.6), planned("a lemon"), LIBRARY.by("noto"))
    assert cover[0].max() == cover[:, 0].max() == cover[:, -1].max() == 0


def test_a_picture_without_a_subject_is_a_ground_for_the_plan():
    scene = planned("a lemon")
    start = started(Image.new("RGB", (300, 200), "#446688"), (512, 512), 0.6)
    _, cover = drawn_over(start, scene, LIBRARY.by("noto"))
    _, own = draw(scene.scene.at(512), LIBRARY.by("noto"))
    assert np.array_equal(cover, own)


def test_the_subject_is_what_has_other_colours_than_the_rim():
    mask = subject(to_tensor(disc())[0])
    assert mask is not None
    assert mask[260, 180] == 1
    assert mask[100, 500] == mask[440, 500] == 0
    assert subject(to_tensor(Image.new("RGB", (64, 64), "teal"))[0]) is None


def test_a_subject_is_painted_out_with_what_is_beside_it():
    x = to_tensor(disc())[0]
    mask = subject(x)
    assert mask is not None
    filled = painted_out(x, mask)
    beside = to_tensor(Image.new("RGB", (1, 2), "#9fd3e6"))[0, :, 0, 0]
    assert torch.allclose(filled[:, 240, 180], beside, atol=0.05)
    assert torch.equal(filled[:, 50], x[:, 50])


def test_plainer_pictures_keep_their_shapes_and_lose_their_grain():
    x = (to_tensor(disc())[0] + 0.1 * torch.randn(3, 480, 640, generator=torch.manual_seed(1))).clamp(0, 1)
    grain = [plainer(x, amount)[:, :90, 300:].std(-1).mean().item() for amount in (0, 0.1, 0.5, 1)]
    assert grain == sorted(grain, reverse=True)
    assert grain[0] == x[:, :90, 300:].std(-1).mean().item()
    assert (plainer(x, 1)[:, 260, 180] - to_tensor(disc())[0][:, 260, 180]).abs().max() < 0.1


@pytest.mark.parametrize(("start", "left"), [(1, [1, 0.75, 0.5, 0]), (0.6, [0.6, 0.5, 0]), (0, [0])])
def test_the_remaining_times_begin_at_the_start(start, left):
    assert flow.remaining(torch.tensor([1, 0.75, 0.5, 0]), start).tolist() == pytest.approx(left)
