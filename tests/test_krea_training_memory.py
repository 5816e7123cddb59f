"""python -m pytest tests/test_krea_training_memory.py — what a training takes, and where it fits."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny_krea
import torch
from counting import Counting
from diffusers import Krea2Transformer2DModel
from test_krea_fits import true_plan
from tiny_krea import rotary
from torch import Tensor, nn

from easel.errors import EngineError
from easel.model import lora, open_weights, training_memory
from easel.model.attention import repeated
from easel.model.backend import Backend
from easel.model.block import MATRICES
from easel.model.fitting import away, fitted, kept, on_device
from easel.model.gguf_bits import LinearGguf
from easel.model.open_weights import WORKING_BYTES
from easel.model.training_memory import activations, in_training, learnt, streamed_for, taken
from easel.model.transformer import predict
from easel.style.krea_training import EIGHT, RANK, TOKENS, WHOLE, memory_of, trainings
from easel.style.learning import layers

CPU, META = torch.device("cpu"), torch.device("meta")
GB = 1e9


def network_of(device: torch.device, eight: bool, **changed: Any) -> Krea2Transformer2DModel:
    """A transformer of the true size but for what is changed, its blocks in half precision or eight bits."""
    with device:
        network = Krea2Transformer2DModel(**changed)
    exact = network._keep_in_fp32_modules
    for name, weight in network.named_parameters():
        if name.split(".")[-2] not in exact:
            weight.data = weight.data.bfloat16()
    network.requires_grad_(False)
    return tiny_krea.kept_in_eight_bits(network) if eight else network


def by_flash(q: Tensor, k: Tensor, v: Tensor, bias: None = None) -> Tensor:
    """Attention as torch's kernel for GPUs keeps it for the gradient."""
    heads = (z.transpose(1, 2) for z in (q, k, v))
    return torch.ops.aten._scaled_dot_product_flash_attention(*heads)[0].transpose(1, 2).flatten(2)


def by_sums(q: Tensor, k: Tensor, v: Tensor, bias: None = None) -> Tensor:
    """What keeps the same on every device."""
    return (q * repeated(k, q) + repeated(v, q)).flatten(2)


def watched(network: Krea2Transformer2DModel, attend: Any, rows: int, columns: int, words: int) -> int:
    """The most bytes that a training's step holds beside weights and what is learnt."""
    like = network.img_in.weight
    network.backend = Backend(attend=attend)
    network.enable_gradient_checkpointing()
    beside = lora.beside(network, layers(network, nn.Linear, "transformer_blocks"), RANK)
    made = partial(torch.zeros, device=like.device)
    x = made(1, rows * columns, network.in_channels).to(like)
    text, t = made(1, words, network.hidden_size).to(like), made(1)
    with Counting() as counting:
        predict(network, x, t, text, rotary(network, rows, columns)).float().square().mean().backward()
    assert counting.held >= sum(p.nbytes for p in beside.values())  # the gradients, at least
    return counting.most


@pytest.mark.parametrize(
    ("eight", "frame", "changed"),
    [
        (False, (64, 64, 512), {}),
        (True, (64, 64, 512), {"num_layers": 8}),
        (True, (52, 78, 40), {"num_layers": 4}),
        (False, (64, 64, 100), {"num_layers": 4, "intermediate_size": 4096}),
        (False, (40, 40, 8), {"num_layers": 3, "num_key_value_heads": 48}),
    ],
)
def test_what_a_step_holds_is_bounded_from_the_architecture_and_closely(
    eight: bool, frame: tuple[int, int, int], changed: dict[str, int]
) -> None:
    """Watched at the true width, on tensors without memory."""
    network = network_of(META, eight, **changed)
    rows, columns, words = frame
    most = watched(network, by_flash, *frame)
    reckoned = activations(network, rows * columns + words, torch.bfloat16)
    assert 0.85 * reckoned < most <= reckoned


@pytest.mark.parametrize("kind", ["Q4_K", "IQ4_XS"])
def test_what_widens_a_gguf_file_is_counted_too(kind: str) -> None:
    network = network_of(META, False, num_layers=3)
    for block in network.transformer_blocks:
        for name in MATRICES:
            layer = block.get_submodule(name)
            with META:
                wide = LinearGguf(layer.in_features, layer.out_features, kind, bias=False)
            block.set_submodule(name, wide)
    reckoned = activations(network, 64 * 64 + 512, torch.bfloat16)
    assert 0.85 * reckoned < watched(network, by_flash, 64, 64, 512) <= reckoned


@pytest.mark.parametrize("eight", [False, True])
def test_tensors_without_memory_tell_what_those_with_memory_hold(eight: bool) -> None:
    small = {"num_layers": 3, "attention_head_dim": 32, "num_attention_heads": 8, "num_key_value_heads": 2}
    small |= {"intermediate_size": 640, "axes_dims_rope": (8, 12, 12), "text_hidden_dim": 64}
    small |= {"text_num_attention_heads": 2, "text_num_key_value_heads": 2, "text_intermediate_size": 64}
    there, here = (watched(network_of(on, eight, **small), by_sums, 16, 24, 20) for on in (META, CPU))
    assert here == pytest.approx(there, rel=0.02)


def test_what_is_learnt_is_counted_from_the_architecture(tiny_raw: Path) -> None:
    part = open_weights.transformer_at(tiny_raw)
    network = part.load(CPU)
    beside = list(lora.beside(network, layers(network, nn.Linear, "transformer_blocks"), RANK).values())
    optimiser = torch.optim.AdamW(beside)
    for parameter in beside:
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    held = sum(p.nbytes + p.grad.nbytes for p in beside)
    held += sum(s.nbytes for state in optimiser.state.values() for s in state.values() if s.ndim)
    assert learnt(part.network, RANK, WHOLE) == held
    assert memory_of(part, CPU) == training_memory.LOST * activations(network, TOKENS, torch.float32) + held


# Where the true model is trained


@pytest.mark.parametrize(
    ("card", "precision", "host", "moments", "streamed", "left"),
    [
        (80, "bf16", 96, WHOLE, 0, 48.7),  # enough for Turbo as it is
        (48, "bf16", 96, WHOLE, 0, 16.7),  # for Turbo streamed
        (32, "bf16", 96, WHOLE, 10, 5.9),
        (23, "fp8", 64, WHOLE, 7, 4.2),
        (15.5, "fp8", 64, WHOLE, 25, 4.5),
        (15.5, "fp8", 9, WHOLE, 20, 2.4),  # for Raw alone
        (15.5, "fp8", 8, WHOLE, 15, 0.2),  # for no picture
        (11.5, "fp8", 64, WHOLE, 24, 0.1),
        (11.5, "nf4", 64, EIGHT, 23, 2.0),
        (23, "fp8", None, WHOLE, 0, 2.9),  # a processor streams nothing
    ],
)
def test_the_true_model_is_streamed_as_far_as_pictures_and_training_need_it(
    card: float, precision: Any, host: float | None, moments: float, streamed: int, left: float
) -> None:
    plan = kept(true_plan(), precision)
    part = plan.transformers["raw"]
    free, learning = card * GB - plan.vae.bytes, taken(part, TOKENS, RANK, moments)
    outside = None if host is None else host * GB
    assert streamed_for(plan.transformers, "raw", learning, free, outside, 0, WORKING_BYTES) == streamed
    assert (free - in_training(part, streamed) - learning) / GB == pytest.approx(left, abs=0.06)


def test_what_is_computed_of_a_training_is_what_the_document_says() -> None:
    document = (Path(__file__).parents[1] / "docs" / "krea.md").read_text()
    for precision, *sizes in trainings(true_plan()):
        assert f"| `{precision}` | {' | '.join(sizes)} |" in document
    for card, name in ((48, ""), (31, 32), (23, 24), (15.5, 16), (11.5, 12)):
        fit = fitted(true_plan(), "auto", card * GB, 96 * GB)
        parts = fit.plan.transformers
        part = parts["raw"]
        free = card * GB - fit.plan.vae.bytes - fit.text_beside * fit.plan.text.bytes
        learning = taken(part, TOKENS, RANK, WHOLE)
        streamed = streamed_for(parts, "raw", learning, free, 96 * GB, fit.streamed, WORKING_BYTES)
        left = free - in_training(part, streamed) - learning
        row = (
            f"{card} GB" + f" (a card of {name})" * bool(name),
            {"fp8": "eight bits", "bfloat16": "half precision"}[part.precision],
            f"{streamed} of 28",
            f"{sum(away(part, streamed)) / GB:.0f} GB",
            "Turbo and Raw" if left >= on_device(part, 28) + WORKING_BYTES else "nothing",
        )
        assert left >= WORKING_BYTES or row[-1] == "nothing"
        assert f"| {' | '.join(row)} |" in document


@pytest.mark.parametrize(
    ("free", "precision", "host", "told"),
    [
        (9, "bf16", 64, r"10\.2 GB of memory here, and 9\.0 GB are .*GPU, or set EASEL_PRECISION=fp8$"),
        (9, "fp8", 64, r"9\.4 GB of memory here, and 9\.0 GB are .*GPU, or set EASEL_PRECISION=nf4$"),
        (7, "nf4", 64, r"8\.7 GB of memory here, and 7\.0 GB are free: take a larger GPU$"),
        (23, "bf16", 1, r"31\.0 GB of memory here, and 23\.0 GB are free"),  # little to stream from
    ],
)
def test_where_no_training_fits_the_least_of_it_and_the_remedy_are_told(
    free: float, precision: Any, host: float, told: str
) -> None:
    parts = kept(true_plan(), precision).transformers
    learning = taken(parts["raw"], TOKENS, RANK, WHOLE)
    with pytest.raises(EngineError, match=told):
        streamed_for(parts, "raw", learning, free * GB, host * GB, 0, WORKING_BYTES)
