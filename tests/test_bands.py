"""python -m pytest tests/test_bands.py — pictures encoded and decoded in bands, beside the whole."""

from fractions import Fraction

import pytest
import tiny_krea
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn

from easel.catalog import SIZES
from easel.model import bands, pixels
from easel.model.pixels import Pixels

WIDTH = 40
EXACT = 1e-12  # in double precision: what is left is the order in which a kernel adds
VAE = tiny_krea.VAE | {"dim_mult": [1, 2, 2, 4], "num_res_blocks": 2}


@pytest.fixture(scope="module")
def still() -> Pixels:
    torch.manual_seed(0)
    made = Pixels(tiny_krea.shaken(AutoencoderKLQwenImage(**VAE)).double())
    return made.eval().requires_grad_(False)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def sides(still: Pixels, height: int) -> list[tuple[nn.Sequential, Tensor]]:
    """The layers that run in bands, and what they are given for a picture of this height."""
    return [(still.shrink, drawn(1, 3, 1, height, WIDTH)), (still.enlarge, drawn(1, 8, 1, height // 4, 10))]


def farthest(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape
    return float((one - other).abs().max())


@pytest.mark.parametrize("height", [8, 40, 104, 200])
@pytest.mark.parametrize("count", [2, 3, 5, 9, 100])
def test_layers_in_bands_give_what_they_give_of_the_whole(still, height, count):
    for layers, x in sides(still, height):
        assert farthest(bands.in_bands(layers, x, count), layers(x)) < EXACT


def test_the_rows_given_beyond_a_band_are_all_that_it_feels_and_no_more(still):
    for layers, x in sides(still, 160):
        for i, (above, below) in enumerate(bands.margins_of(layers)):
            rest, top = layers[i:], x.shape[-2] // 8 * 4
            whole, bottom = rest(x), top + 8
            rate = Fraction(whole.shape[-2], x.shape[-2])
            band = slice(int(top * rate), int(bottom * rate))

            def is_felt(row: int, rest=rest, x=x, whole=whole, band=band) -> bool:
                other = x.clone()
                other[..., row, :] += 1
                return not torch.equal(rest(other)[..., band, :], whole[..., band, :])

            assert is_felt(top - above)
            assert is_felt(bottom + below - 1)
            assert not is_felt(top - above - 1)
            assert not is_felt(bottom + below)
            x = layers[i](x)


@pytest.mark.parametrize("row", ["above", "below"])
def test_with_one_row_less_the_picture_is_another(still, row, monkeypatch):
    margins = bands.margins_of
    for layers, x in sides(still, 104):
        for i in (0, 1):

            def short(given, i=i):
                found = margins(given)
                return [
                    m._replace(**{row: getattr(m, row) - 1}) if j == i else m for j, m in enumerate(found)
                ]

            monkeypatch.setattr(bands, "margins_of", short)
            assert farthest(bands.in_bands(layers, x, 3), layers(x)) > 1e-6


@pytest.mark.parametrize("band", [8, 24, 56])
def test_a_picture_in_bands_is_the_same_picture(still, band, monkeypatch):
    for height in (8, 104, 200):
        x, z = drawn(1, 3, height, WIDTH).sigmoid(), drawn(1, 4, height // 8, WIDTH // 8)
        encoded, decoded = still.encode(x), still.decode(z)
        with monkeypatch.context() as patch:
            patch.setattr(pixels, "BAND", WIDTH * band)
            assert pixels.bands_of(height, WIDTH) == -(-height // band)
            assert farthest(still.encode(x), encoded) < 1e-6
            assert farthest(still.decode(z), decoded) < 1e-6


def test_every_picture_of_1k_is_computed_in_four_bands_and_a_preview_in_one():
    assert {pixels.bands_of(height, width) for width, height in SIZES.values()} == {4}
    assert pixels.bands_of(256, 256) == 1
