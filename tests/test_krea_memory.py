"""python -m pytest tests/test_krea_memory.py — what a 1K picture takes beside Krea's weights, counted at the
true size, of which no weight exists."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import tiny_krea
import torch
from counting import counted
from diffusers import AutoencoderKLQwenImage, Krea2Transformer2DModel
from tiny_krea import rotary
from torch import Tensor, nn

from easel.model import in_context, pixels, shared
from easel.model.attention import attend_apart
from easel.model.backend import PLAIN
from easel.model.block import MATRICES
from easel.model.gguf_bits import LinearGguf
from easel.model.lora import Change, Style
from easel.model.open_weights import CONTEXT_BYTES, WORKING_BYTES
from easel.model.pixels import Pixels
from easel.model.transformer import predict
from easel.model.worn import worn

META = torch.device("meta")
T = torch.empty(1, device=META)
DOCUMENTED = 0.02  # GB: what figures in the documents may be off by


def half(*shape: int) -> Tensor:
    return torch.empty(*shape, dtype=torch.bfloat16, device=META)


def found(q: Tensor, k: Tensor, v: Tensor, bias: None = None) -> Tensor:
    """What a GPU's kernel takes: room for the outcome."""
    return torch.empty_like(q).flatten(2)


def told(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(q[..., 0], dtype=torch.float32)


def network() -> Any:
    """The true transformer in half precision."""
    with torch.device(META):
        made = Krea2Transformer2DModel()
    for name, layer in made.named_modules():
        if "norm" not in name:
            for weight in layer.parameters(recurse=False):
                weight.data = weight.data.bfloat16()
    apart = partial(attend_apart, told)
    made.backend = replace(PLAIN, attend=found, attend_at=apart, telling=told)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def transformer() -> Any:
    """Its matrices in eight bits, and widened: a GPU that multiplies eight bits takes less."""
    return tiny_krea.kept_in_eight_bits(network())


@pytest.fixture(scope="module")
def autoencoder() -> Pixels:
    with torch.device(META):
        vae = AutoencoderKLQwenImage()
        for weight in vae.parameters():
            weight.data = weight.data.bfloat16()
        return Pixels(vae).eval()


X = half(1, 64 * 64, 64)  # of a 1K picture
WORDS, NOTHING, AVOIDED = half(1, 200, 6144), half(1, 40, 6144), half(1, 40, 6144)


def latents(side: int) -> Tensor:
    return torch.empty(1, 16, side // 8, side // 8, device=META)


def plainly(transformer: Any) -> Tensor:
    """A step."""
    return predict(transformer, X, T, WORDS, rotary(transformer, 64, 64))


def hearing(transformer: Any, references: int) -> Tensor:
    """A step with references that share attention, and words to avoid."""
    looks = shared.looks_of([(latents(480), 0.2)] * references)
    heard = shared.ready([(one.weights, shared.listen(transformer, one, NOTHING, T)) for one in looks])
    return shared.predict(transformer, X, T, WORDS, rotary(transformer, 64, 64), heard, AVOIDED)


def reading(transformer: Any, references: int) -> Tensor:
    """A step with references in its own sequence, which the text encoder has seen too."""
    context = in_context.context_of([(latents(1024), 0.5)] * references)
    text = half(1, 200 + 150 * references, 6144)
    return in_context.predict(
        transformer, X, T, text, rotary(transformer, 64, 64, context.positions), context, AVOIDED
    )


def lora(transformer: Any) -> dict[str, Change]:
    """On every matrix of the blocks, of rank 64, as style LoRAs are."""
    layers = transformer.named_modules()
    return {
        name: Change(half(64, layer.in_features), half(layer.out_features, 64))
        for name, layer in layers
        if isinstance(layer, nn.Linear) and name.startswith("transformer_blocks.")
    }


def test_a_step_takes_what_is_reserved_for_it_and_leaves_a_quarter_for_the_rest(transformer):
    assert counted(lambda: plainly(transformer)) == pytest.approx(0.95, abs=DOCUMENTED)
    most = counted(lambda: hearing(transformer, 4))
    assert most == pytest.approx(1.42, abs=DOCUMENTED)
    assert 0.5 * WORKING_BYTES < most * 1e9 <= 0.76 * WORKING_BYTES


@pytest.mark.parametrize("kind", ["Q4_K", "IQ4_XS"])
def test_to_widen_a_gguf_files_matrices_takes_no_more_than_the_step_has_anyway(transformer, kind):
    quantised = network()
    for block in quantised.transformer_blocks:
        for name in MATRICES:
            layer = block.get_submodule(name)
            with torch.device(META):
                block.set_submodule(name, LinearGguf(layer.in_features, layer.out_features, kind, False))
    plain = counted(lambda: plainly(transformer))
    assert counted(lambda: plainly(quantised)) == pytest.approx(plain, abs=DOCUMENTED)


def test_so_does_a_step_with_references_in_its_own_sequence(transformer):
    changes = lora(transformer)
    weights = sum(change.down.nbytes + change.up.nbytes for change in changes.values()) / 1e9

    def wearing() -> None:
        with worn(transformer, [Style("references", changes, 1.0)]):
            reading(transformer, 4)

    most = counted(wearing)
    assert (most, weights) == (pytest.approx(6.3, abs=DOCUMENTED), pytest.approx(0.43, abs=DOCUMENTED))
    assert 0.5 * CONTEXT_BYTES < (most + weights) * 1e9 <= 0.88 * CONTEXT_BYTES


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (1568, 672), (768, 1376)])
@pytest.mark.parametrize(("way", "whole", "in_bands"), [("decode", 0.76, 0.25), ("encode", 0.61, 0.2)])
def test_a_picture_in_bands_takes_a_third(autoencoder, way, whole, in_bands, width, height, monkeypatch):
    shape = (1, 16, height // 8, width // 8) if way == "decode" else (1, 3, height, width)
    run = partial(getattr(autoencoder, way), torch.empty(shape, device=META))
    assert counted(run) == pytest.approx(in_bands, abs=DOCUMENTED)
    monkeypatch.setattr(pixels, "BAND", width * height)
    assert counted(run) == pytest.approx(whole, abs=DOCUMENTED)
