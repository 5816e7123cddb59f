"""python -m pytest tests/test_palette.py — the colours of pictures, and carrying them over to others."""

import pytest
import torch

from easel.model.palette import harmonised, oklab, palette_of, srgb


def bands(*colours: str, side: int = 48) -> torch.Tensor:
    """A picture of upright bands: (3, side, side)."""
    rgb = [torch.tensor([int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)]) for c in colours]
    return torch.stack(rgb).repeat_interleave(side // len(rgb), 0).T[:, None].expand(3, side, -1).contiguous()


def apart(x: torch.Tensor, y: torch.Tensor) -> float:
    """The mean distance in Oklab from the colours of one picture to the nearest of another."""
    one, other = (oklab(z.flatten(1).T)[::7] for z in (x, y))
    return torch.cdist(one, other).amin(1).mean().item()


SCENE = bands("#8ecae6", "#588157", "#ff7a00", "#ffffff")
POSTER = bands("#f4e3c1", "#00798c", "#d1495b", "#edae49")


def test_oklab_and_back_is_the_same_colour():
    colours = torch.rand(200, 3)
    assert torch.allclose(srgb(oklab(colours)), colours, atol=1e-4)
    assert torch.allclose(oklab(torch.ones(3)), torch.tensor([1.0, 0, 0]), atol=1e-3)


def test_a_palette_holds_the_colours_and_how_much_there_is_of_each():
    palette = palette_of(bands("#d1495b", "#00798c", "#00798c", "#00798c"))
    assert palette.weights.sort().values.tolist() == pytest.approx([0.25, 0.75], abs=0.02)
    assert torch.allclose(
        srgb(palette.colours[palette.weights.argmax()]) * 255, torch.tensor([0.0, 121, 140]), atol=1
    )


def test_a_picture_takes_on_the_colours_of_another():
    away = [apart(harmonised(SCENE, [(palette_of(POSTER), s)]), POSTER) for s in (0, 0.25, 0.5, 0.75, 1)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 0.4 * away[0]


def test_a_picture_keeps_its_own_shapes_and_the_order_of_its_lights():
    moved = harmonised(SCENE, [(palette_of(POSTER), 1.0)])
    assert (moved.diff(dim=2).abs().amax((0, 1)) > 0.02).sum() == 3
    light = lambda x: oklab(x[:, 0, ::12].T)[:, 0].argsort().tolist()  # noqa: E731
    assert light(moved)[-1] == light(SCENE)[-1]


def test_a_negative_strength_moves_colours_away():
    palette = palette_of(POSTER)
    moved, towards = (harmonised(SCENE, [(palette, s)]) - SCENE for s in (-0.5, 0.5))
    assert (moved * towards).mean() < -1e-3


def test_two_palettes_at_half_strength_give_what_lies_between():
    one, other = palette_of(POSTER), palette_of(bands("#0b0320", "#ff2bd6", "#25f4ee", "#7a5cff"))
    singles = [harmonised(SCENE, [(palette, 1.0)]) for palette in (one, other)]
    assert torch.allclose(harmonised(SCENE, [(one, 0.5), (other, 0.5)]), sum(singles) / 2, atol=1e-4)


def test_no_palette_leaves_every_bit_as_it_was():
    assert torch.equal(harmonised(SCENE, []), SCENE)


def test_a_picture_under_a_grey_palette_has_no_colour():
    moved = harmonised(SCENE, [(palette_of(bands("#101010", "#707070", "#d0d0d0", "#ffffff")), 1.0)])
    assert oklab(moved.flatten(1).T)[:, 1:].abs().max() < 0.01


def test_a_blank_reference_leaves_the_picture_to_be_seen():
    blank = bands("#f0f8f0", "#f0f8f0", "#f2faf2", "#f0f8f0")
    moved = harmonised(SCENE, [(palette_of(blank), 1.0)])
    assert moved.std() > 0.5 * SCENE.std()


@pytest.mark.parametrize("other", [torch.zeros(3, 32, 32), torch.ones(3, 32, 32), torch.rand(3, 32, 32)])
@pytest.mark.parametrize("x", [torch.zeros(3, 32, 32), torch.ones(3, 32, 32), SCENE])
def test_pictures_of_one_colour_give_no_holes(x, other):
    moved = harmonised(x, [(palette_of(other), 1.0)])
    assert moved.isfinite().all()
    assert 0 <= moved.min() <= moved.max() <= 1
