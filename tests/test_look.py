"""python -m pytest tests/test_look.py — looks: what they do to a scene, how words and pictures tell them."""

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image

from easel.model.latents import to_picture, to_tensor
from easel.model.look import MANNERS, Look, laid, lay, sample_look
from easel.model.operators import OPERATORS, blur, box
from easel.model.reader import LookReader
from easel.model.texture import of_sheets
from easel.style.looks import leading_hand, look_of
from easel.style.painter import SHIPPED
from easel.style.references import reference_sheet
from easel.style.scene import Ground, Item, Library, Scene, draw

LIBRARY = Library(SHIPPED / "drawings.zip")


def plain(side: int = 96, hand: str = "noto") -> tuple[torch.Tensor, torch.Tensor]:
    """A fox on a hill, and the cover of the fox."""
    ground = Ground("hills", ("#8ecae6", "#588157", "#ffb703"), 3)
    scene = Scene(side, side, ground, (Item("1f98a", 0.5, 0.6, 0.5),))
    picture, cover = draw(scene, LIBRARY.by(hand))
    return torch.from_numpy(picture).movedim(-1, 0), torch.from_numpy(cover)


def look(technique: str, palette: str = "sunset", seed: int = 1, hand: str = "noto") -> Look:
    return sample_look(random.Random(seed), hand, technique, palette)


@pytest.mark.parametrize("technique", OPERATORS)
def test_every_technique_changes_the_picture_and_stays_within_its_range(technique):
    x, cover = plain()
    y = lay(x, cover, look(technique), 1.0, seed=2)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert 0 <= y.min() <= y.max() <= 1
    assert (y - x).abs().mean() > 0.01
    assert torch.equal(y, lay(x, cover, look(technique), 1.0, seed=2))


@pytest.mark.parametrize("technique", OPERATORS)
def test_marks_are_laid_on_the_ground_and_on_objects_alike(technique):
    x, cover = plain(256)
    own = replace(look(technique), amount=0.0)
    moved = (lay(x, cover, own, 1.0, seed=2) - x).abs().mean(0)
    assert moved[cover > 0.9].mean() > 0.005
    assert moved[cover < 0.1].mean() > 0.005


def test_a_look_is_laid_more_the_stronger_it_is():
    x, cover = plain()
    away = [
        (laid(x, cover, [(look("halftone"), s)], 1.0, 2) - x).abs().mean() for s in (0.25, 0.5, 0.75, 1, 1.25)
    ]
    assert away == sorted(away)
    whole = laid(x, cover, [(look("halftone"), 1.0)], 1.0, 2)
    assert torch.allclose(whole, lay(x, cover, look("halftone"), 1.0, 2), atol=1e-6)


def test_no_look_leaves_the_scene_as_it_is():
    x, cover = plain()
    assert torch.equal(laid(x, cover, [], 1.0, 2), x)


def test_two_looks_at_half_strength_lie_between_the_two():
    x, cover = plain()
    one, other = look("linocut", "noir"), look("watercolour", "pastel")
    singles = [lay(x, cover, each, 1.0, 2) for each in (one, other)]
    both = laid(x, cover, [(one, 0.5), (other, 0.5)], 1.0, 2)
    assert torch.allclose(both, sum(singles) / 2, atol=1e-5)


def test_blurs_keep_a_flat_picture_and_the_mean_of_a_point():
    flat, point = torch.full((3, 20, 30), 0.4), torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1
    for soften in (lambda x: blur(x, 2.0), lambda x: box(x, 3)):
        assert torch.allclose(soften(flat), flat, atol=1e-6)
        assert soften(point).sum() == pytest.approx(1, abs=1e-5)
    assert box(point, 3)[0, 17:24, 17:24].allclose(torch.tensor(1 / 49))


@pytest.mark.parametrize(
    ("prompt", "technique", "coloured"),
    [
        ("a fox, linocut print", "linocut", False),
        ("a fox in neon colours", "plain", True),
        ("pixel art of a castle, sunset palette", "pixel", True),
        ("a photo of a lamp", "grain", False),
        ("an octane render of a teapot", "clay", False),
        ("a watercolour of a boat, not an oil painting", "watercolour", False),
    ],
)
def test_words_name_a_look(prompt, technique, coloured):
    found = look_of(prompt, 1)
    assert found is not None
    assert found.technique == technique
    assert (found.amount > 0) == coloured
    assert found.numbers == look_of(prompt, 1).numbers


def test_a_picture_asked_for_in_black_and_white_has_no_colour():
    x, cover = plain()
    found = look_of("a fox, black and white", 1)
    assert found is not None
    y = lay(x, cover, found, 1.0, 2)
    assert (y.amax(0) - y.amin(0)).max() < 0.02


@pytest.mark.parametrize("prompt", ["a glass lamp on a marble table", "a fox", "", "a boat, no watercolour"])
def test_a_prompt_that_says_nothing_of_looks_has_none(prompt):
    assert look_of(prompt, 1) is None


@pytest.mark.parametrize(
    ("prompt", "hand"),
    [
        ("a fox, clay render", "fluent-color"),
        ("a fox, flat illustration", "fluent-flat"),
        ("a fox, linocut", ""),
    ],
)
def test_words_that_name_a_technique_may_say_who_draws(prompt, hand):
    found = look_of(prompt, 1)
    assert found is not None
    assert found.hand == hand


def test_the_strongest_look_that_tells_says_who_draws():
    blob, lines, silent = (look("plain", hand=hand) for hand in ("blob", "fluent-high-contrast", ""))
    assert leading_hand([(blob, 0.5), (lines, 0.7), (silent, 1.0)], "turbo") == "fluent-high-contrast"
    assert leading_hand([(silent, 1.0), (blob, 0.5)], "turbo") == "blob"


def test_a_weak_or_silent_look_leaves_the_drawing_to_the_hand_of_the_weights():
    weak, silent = (look("plain", hand="blob"), 0.4), (look("plain", hand=""), 1.0)
    for looks in ([], [weak], [silent], [weak, silent]):
        assert leading_hand(looks, "turbo") == "noto"
        assert leading_hand(looks, "raw") == "fluent-color"


def test_a_hand_whose_drawings_do_not_ship_is_stood_in_for():
    assert leading_hand([(look("plain", hand="fluent-3d"), 1.0)], "turbo") == "fluent-color"


@pytest.fixture
def reader(painter):
    return painter._krea.reader


def read(reader: LookReader, sheet: Image.Image) -> Look:
    x = to_tensor(sheet)
    return reader.read(x, of_sheets(x))


@pytest.mark.parametrize(
    "technique", ["halftone", "stained glass", "ink hatching", "pixel", "linocut", "chalk"]
)
def test_the_technique_of_a_reference_is_read(reader, technique):
    x, cover = plain(1024)
    sheet = reference_sheet(to_picture(lay(x, cover, look(technique, seed=5), 2.0, 3)[None]))
    assert read(reader, sheet).technique == technique


@pytest.mark.parametrize("hand", ["fluent-high-contrast", "twemoji", "fluent-color"])
def test_a_hand_like_that_of_a_reference_is_read(reader, hand):
    x, _ = plain(1024, hand)
    found = read(reader, reference_sheet(to_picture(x[None]))).hand
    assert found in next(manner for manner in MANNERS if hand in manner)


def test_the_palette_of_a_reference_is_read(reader):
    x, cover = plain(1024)
    for palette in ("ocean", "autumn", "noir"):
        known = look("plain", palette, seed=4)
        shown = lay(x, cover, known, 2.0, 3)
        found = read(reader, reference_sheet(to_picture(shown[None])))
        again = lay(x, cover, replace(found, technique="plain"), 2.0, 3)
        assert (again - shown).abs().mean() < 0.5 * (x - shown).abs().mean()
