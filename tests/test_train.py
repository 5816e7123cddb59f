"""python -m pytest tests/test_train.py — what the nano model learns from, and how its weights are kept."""

import random
from dataclasses import replace

import pytest
import torch

from easel.model import weights
from easel.model.vae import AutoencoderNano
from easel.style.painter import SHIPPED
from easel.style.scene import GROUNDS, Ground, Item, Library, Scene, draw
from easel.train.operators import OPERATORS
from easel.train.styles import sample_style, stylise


def plain(side: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """A fox on a hill, and the cover of the fox."""
    ground = Ground("hills", ("#8ecae6", "#588157", "#ffb703"), 3)
    scene = Scene(side, side, ground, (Item("1f98a", 0.5, 0.6, 0.5),))
    picture, cover = draw(scene, Library(SHIPPED / "drawings.zip").raster)
    return torch.from_numpy(picture).movedim(-1, 0), torch.from_numpy(cover)


@pytest.mark.parametrize("technique", OPERATORS)
def test_every_technique_changes_the_picture_and_stays_within_its_range(technique):
    x, cover = plain()
    rng = random.Random(1)
    numbers = {name: rng.uniform(*limits) for name, limits in OPERATORS[technique].ranges.items()}
    style = replace(sample_style(1), technique=technique, numbers=numbers)
    y = stylise(x, cover, style, 1.0, seed=2)
    assert y.shape == x.shape
    assert y.isfinite().all()
    assert 0 <= y.min() <= y.max() <= 1
    assert (y - x).abs().mean() > 0.01
    assert torch.equal(y, stylise(x, cover, style, 1.0, seed=2))


@pytest.mark.parametrize("kind", GROUNDS)
def test_every_ground_fills_the_frame_and_varies_with_its_seed(kind):
    ground = Ground(kind, ("#8ecae6", "#588157", "#ffb703"), 1)
    one, _ = draw(Scene(120, 80, ground, ()), Library(SHIPPED / "drawings.zip").raster)
    assert one.shape == (80, 120, 3)
    other, _ = draw(Scene(120, 80, replace(ground, seed=2), ()), Library(SHIPPED / "drawings.zip").raster)
    assert (kind in ("flat", "gradient")) == bool((one == other).all())


def test_a_style_is_the_same_for_the_same_number():
    one, again, other = sample_style(5), sample_style(5), sample_style(6)
    assert (one.hand, one.technique, one.numbers) == (again.hand, again.technique, again.numbers)
    assert torch.equal(one.ramp, again.ramp)
    assert not torch.equal(one.ramp, other.ramp)


def test_latents_of_a_mixture_are_the_mixture_of_latents():
    vae = AutoencoderNano(latent_channels=8, widths=(16, 16), blocks=(1, 1))
    vae.basis.copy_(torch.linalg.qr(torch.randn(768, 8)).Q)
    one, other = torch.rand(2, 1, 3, 64, 96)
    mixed = vae.encode(0.3 * one + 0.7 * other)
    assert mixed.shape == (1, 8, 2, 3)
    assert torch.allclose(mixed, 0.3 * vae.encode(one) + 0.7 * vae.encode(other), atol=1e-5)


def test_weights_at_rest_are_close_to_what_was_saved(tmp_path):
    state = {"matrix": torch.randn(80, 96), "kernel": torch.randn(64, 64, 3, 3), "norm": torch.randn(80)}
    weights.save_int8(state, tmp_path / "weights.safetensors")
    loaded = weights.load(tmp_path / "weights.safetensors")
    assert loaded.keys() == state.keys()
    for name, saved in state.items():
        assert (loaded[name] - saved).abs().max() < 0.01 * saved.abs().max()
    assert (tmp_path / "weights.safetensors").stat().st_size < 1.1 * (80 * 96 + 64 * 64 * 9) + 2000
