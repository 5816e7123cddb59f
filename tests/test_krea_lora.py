"""python -m pytest tests/test_krea_lora.py — LoRA files of all trainers, on a tiny transformer of Krea's."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tiny_krea
import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from safetensors.torch import load, save
from tiny_krea import official, rotary
from torch import Tensor

from easel.errors import CheckpointError, StyleError
from easel.model import in_context, lora, lora_files, open_weights, shared
from easel.model.block import product
from easel.model.lora import Change, Kronecker, Style
from easel.model.transformer import fuse_text, grid, predict
from easel.model.worn import worn

CPU = torch.device("cpu")
QUERY = "transformer_blocks.1.attn.to_q"
Halves = Mapping[str, tuple[Tensor, Tensor]]  # down and up, by diffusers' names of layers


@pytest.fixture(scope="module")
def network(tiny_turbo: Path) -> Krea2Transformer2DModel:
    return open_weights.transformer_at(tiny_turbo).load(CPU)


def halves(network: torch.nn.Module, seed: int = 0, rank: int = 3) -> dict[str, tuple[Tensor, Tensor]]:
    """A LoRA of every matrix."""
    g = torch.Generator().manual_seed(seed)
    return {
        name: (torch.randn(rank, inner, generator=g), 0.1 * torch.randn(outer, rank, generator=g))
        for name, (outer, inner) in lora.shapes(network).items()
    }


def krea(name: str) -> str:
    return official(f"{name}.").removesuffix(".")


def flat(name: str) -> str:
    return name.replace(".", "_")


def as_lora(naming: Callable[[str], str], down: str, up: str, alpha: float | None = None, **metadata: Any):
    """A way to write a LoRA down: names of layers and halves, alpha beside each, what PEFT is told to say."""

    def written(layers: Halves) -> bytes:
        tensors = {}
        for name, halves in layers.items():
            for half, tensor in zip((down, up), halves, strict=True):
                tensors[f"{naming(name)}.{half}.weight"] = tensor
            if alpha is not None:
                tensors[f"{naming(name)}.alpha"] = torch.tensor(alpha)
        return save(tensors, {"lora_adapter_metadata": json.dumps(metadata)} if metadata else None)

    return written


AB, KOHYA = ("lora_A", "lora_B"), ("lora_down", "lora_up")
FORMS = {  # each with the scale that it says, for a rank of 3
    "diffusers": (as_lora(lambda name: f"transformer.{name}", *AB), 1),
    "diffusers with PEFT's alpha": (
        as_lora(lambda name: f"transformer.{name}", *AB, **{"transformer.lora_alpha": 6}),
        2,
    ),
    "diffusers, rank-stabilised": (
        as_lora(lambda name: f"transformer.{name}", *AB, lora_alpha=6, use_rslora=True),
        6 / 3**0.5,
    ),
    "diffusers, an alpha a layer": (
        as_lora(lambda name: f"transformer.{name}", *AB, lora_alpha=3, alpha_pattern={".*": 1.5}),
        0.5,
    ),
    "PEFT": (as_lora(lambda name: f"base_model.model.{name}", *AB), 1),
    "PEFT with its adapter's name": (as_lora(lambda name: name, "lora_A.default", "lora_B.default"), 1),
    "ai-toolkit": (as_lora(lambda name: f"diffusion_model.{krea(name)}", *AB), 1),
    "ai-toolkit with alpha": (as_lora(lambda name: f"diffusion_model.{krea(name)}", *AB, alpha=1.5), 0.5),
    "ComfyUI": (as_lora(lambda name: f"diffusion_model.{name}", *KOHYA, alpha=3), 1),
    "musubi": (as_lora(lambda name: f"lora_unet_{flat(krea(name))}", *KOHYA, alpha=1.5), 0.5),
    "kohya of diffusers' names": (as_lora(lambda name: f"lora_unet_{flat(name)}", *KOHYA, alpha=12), 4),
    "Krea's own names": (as_lora(krea, *KOHYA), 1),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_lora_says_the_same_of_every_layer(network: Any, form: str) -> None:
    written, scale = FORMS[form]
    layers = halves(network)
    changes = lora.fitted(lora_files.read(written(layers)).changes["transformer"], lora.shapes(network))
    assert changes.keys() == layers.keys()
    for name, (down, up) in layers.items():
        assert torch.allclose(changes[name].whole(), scale * up @ down, rtol=1e-5, atol=1e-6)


def factors(size: int) -> tuple[int, int]:
    """Of a matrix' side, the smaller first."""
    return next((a, size // a) for a in (8, 4, 3, 2, 1) if size % a == 0)


@pytest.mark.parametrize("naming", ["diffusion_model", "transformer", "lycoris", "lora_unet"])
@pytest.mark.parametrize(
    ("left", "right", "scale"),  # which of the two matrices are products of rank 2; alpha is 1
    [(False, False, 1), (True, False, 0.5), (False, True, 0.5), (True, True, 0.5)],
)
def test_every_form_of_a_lokr_says_the_same_of_every_layer(
    network: Any, naming: str, left: bool, right: bool, scale: float
) -> None:
    g, tensors, wanted = torch.Generator().manual_seed(1), {}, {}
    for name, (outer, inner) in lora.shapes(network).items():
        (a, b), (c, d) = factors(outer), factors(inner)
        key = {
            "diffusion_model": f"diffusion_model.{krea(name)}",
            "transformer": f"transformer.{name}",
            "lycoris": f"lycoris_{flat(name)}",
            "lora_unet": f"lora_unet_{flat(krea(name))}",
        }[naming]
        matrices = []
        for one, halved, rows, columns in (("w1", left, a, c), ("w2", right, b, d)):
            tall, wide = torch.randn(rows, 2, generator=g), torch.randn(2, columns, generator=g)
            matrices.append(tall @ wide)
            tensors |= (
                {f"{key}.lokr_{one}_a": tall, f"{key}.lokr_{one}_b": wide}
                if halved
                else {f"{key}.lokr_{one}": matrices[-1]}
            )
        tensors[f"{key}.alpha"] = torch.tensor(1.0)
        wanted[name] = scale * torch.kron(*matrices)
    changes = lora.fitted(lora_files.read(save(tensors)).changes["transformer"], lora.shapes(network))
    assert changes.keys() == wanted.keys()
    for name, whole in wanted.items():
        assert changes[name].shape == whole.shape
        assert torch.allclose(changes[name].whole(), whole, rtol=1e-4, atol=1e-5)


def loras(network: Any) -> list[Style]:
    """A LoRA of all layers twice, one of them pushed away, and a LoKr of some."""
    g = torch.Generator().manual_seed(3)
    plain = [
        {n: Change(down, 0.3 * up, 0.5) for n, (down, up) in halves(network, seed).items()} for seed in (1, 2)
    ]
    lokr = {
        name: Kronecker(torch.randn(8, 8, generator=g), 0.02 * torch.randn(8, 8, generator=g))
        for name, shape in lora.shapes(network).items()
        if shape == (64, 64)
    }
    return [Style("one", plain[0], 0.7), Style("other", plain[1], -2.0), Style("LoKr", lokr, 1.5)]


def merged(network: Any, styles: list[Style]) -> Any:
    """The plain way: a copy whose weights were changed."""
    other = copy.deepcopy(network)
    for _, changes, strength in styles:
        for name, change in changes.items():
            other.get_submodule(name).weight.data += strength * change.whole()
    return other


def velocities(network: Any) -> list[Tensor]:
    """What the network says by itself, with references in context, and with shared attention."""
    g = torch.Generator().manual_seed(4)
    x, z, tapped, empty = (
        torch.randn(size, generator=g) for size in ((1, 6, 16), (1, 4, 4, 6), (1, 5, 3, 32), (1, 4, 3, 32))
    )
    t, positions = torch.tensor([0.6]), grid(2, 3)
    text = fuse_text(network, tapped)
    context = in_context.context_of([(z, 0.8)])
    own, longer = rotary(network, 2, 3), rotary(network, 2, 3, context.positions)
    looks = shared.Looks(x + 1, x.flip(1), positions, [0.5])
    voice = shared.listen(network, looks, fuse_text(network, empty), t)
    return [
        predict(network, x, t, text, own),
        in_context.predict(network, x, t, text, longer, context),
        shared.predict(network, x, t, text, own, shared.ready([(looks.weights, voice)])),
    ]


@torch.no_grad()
@pytest.mark.parametrize("kinds", ["LoRAs", "one for the blocks and one beside", "a LoKr too"])
def test_what_is_worn_acts_as_if_it_were_merged_into_the_weights(network: Any, kinds: str) -> None:
    before = copy.deepcopy(network.state_dict())
    plain, styles = velocities(network), loras(network)
    if kinds != "a LoKr too":
        styles = styles[:2]
    if kinds == "one for the blocks and one beside":
        styles = [
            style._replace(
                changes={n: one for n, one in style.changes.items() if ("blocks.1" in n) == inside}
            )
            for style, inside in zip(styles, (True, False), strict=True)
        ]
    with worn(network, styles):
        dressed = velocities(network)
    for one, other, without in zip(dressed, velocities(merged(network, styles)), plain, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()
        assert (one - without).abs().max() > 0.1 * without.abs().max()
    assert all(torch.equal(one, other) for one, other in zip(velocities(network), plain, strict=True))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    with worn(network, [style._replace(strength=0.0) for style in styles]):
        assert all(torch.equal(one, other) for one, other in zip(velocities(network), plain, strict=True))


@torch.no_grad()
def test_what_is_worn_is_taken_off_when_the_painting_is_broken_off(network: Any) -> None:
    plain = velocities(network)
    with pytest.raises(RuntimeError, match="enough"), worn(network, loras(network)):
        raise RuntimeError("enough")
    assert all(torch.equal(one, other) for one, other in zip(velocities(network), plain, strict=True))


@torch.no_grad()
def test_peft_makes_the_same_of_the_same_file(tiny_turbo: Path, network: Any) -> None:
    layers = {name: halves(network)[name] for name in (QUERY, "img_in", "text_fusion.projector")}
    data = FORMS["diffusers"][0](layers)
    theirs = open_weights.transformer_at(tiny_turbo).load(CPU)
    theirs.load_lora_adapter(load(data), adapter_name="style", prefix="transformer")
    changes = lora.fitted(lora_files.read(data).changes["transformer"], lora.shapes(network))
    with worn(network, [Style("style", changes, 1.0)]):
        for one, other in zip(velocities(network), velocities(theirs), strict=True):
            assert (one - other).abs().max() < 1e-5 * other.abs().max()


@torch.no_grad()
def test_matrices_of_eight_bits_are_changed_as_exactly(tiny_turbo: Path, tmp_path: Path) -> None:
    file = tiny_krea.save_single_file(tiny_turbo, tmp_path / "one.safetensors", eight_bits=True)
    network = open_weights.transformer_at(file).load(CPU)
    block, _, name = QUERY.rpartition(".attn.")
    layer, x = network.get_submodule(QUERY), torch.randn(2, 5, 64)
    styles = [style for style in loras(network)[:2] if QUERY in style.changes]
    whole = layer.widened(torch.float32) + sum(s * changes[QUERY].whole() for _, changes, s in styles)
    with worn(network, styles):
        found = product(network.get_submodule(block), f"attn.{name}", x, network.added[int(block[-1])])
    assert (found - F.linear(x, whole)).abs().max() < 1e-5 * found.abs().max()
    assert layer.weight8.dtype == torch.float8_e4m3fn


A, B = torch.ones(3, 64), torch.ones(64, 3)
PLAIN = {f"{QUERY}.lora_A.weight": A, f"{QUERY}.lora_B.weight": B}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {f"{QUERY}.dora_scale": torch.ones(64, 1)},
            "dora_scale' and 0 more .* no part of a plain",
        ),
        ({f"{QUERY}.lora_magnitude_vector": torch.ones(64)}, "lora_magnitude_vector' and 0 more"),
        ({f"{QUERY}.lora_B.bias": torch.ones(64)}, "lora_B.bias' and 0 more"),
        ({"blocks.0.attn.wq.diff": B, "blocks.0.attn.wk.diff": B}, "attn.wk.diff' and 1 more"),
        ({"blocks.0.attn.wq.hada_w1_a": B}, "hada_w1_a' and 0 more"),
        ({"blocks.0.attn.wq.lokr_t2": B}, "lokr_t2' and 0 more"),
        ({"last.up.weight": B}, "last.up.weight' and 0 more"),
        ({f"{QUERY}.alpha": torch.ones(2)}, "alpha' and 0 more"),
        ({"blocks.0.attn.wq.alpha": torch.tensor(1.0)}, "'blocks.0.attn.wq' lacks a half"),
        ({"blocks.0.attn.wq.lokr_w1": A}, "'blocks.0.attn.wq' lacks a half"),
        ({"blocks.0.attn.wq.lokr_w1": A, "blocks.0.attn.wq.lokr_w2_a": A}, "wq' lacks a half"),
        ({f"{QUERY}.lokr_w1": A, f"{QUERY}.lokr_w2": A}, f"'{QUERY}' lacks a half"),
        (
            {"blocks.0.attn.wq.lokr_w1": A, "blocks.0.attn.wq.lokr_w2_a": A, "blocks.0.attn.wq.lokr_w2_b": A},
            "do not fit",
        ),
        ({f"{QUERY}.alpha": torch.tensor(float("nan"))}, "alpha' holds what is no number"),
        ({f"transformer.{QUERY}.lora_A.weight": A, f"transformer.{QUERY}.lora_B.weight": B}, "twice"),
        ({"blocks.1.attn.wq.lora_A.weight": A, "blocks.1.attn.wq.lora_B.weight": B}, "twice"),
        ({"blocks.7.attn.wq.lora_A.weight": A, "blocks.7.attn.wq.lora_B.weight": B}, "no such layer"),
        (
            {"lora_te_q.lora_down.weight": A, "lora_te_q.lora_up.weight": B},
            r"'lora_te_q' \(64 ×.* no such",
        ),
        ({"first.lora_A.weight": A, "first.lora_B.weight": B}, r"'first' \(64 × 64\).*'img_in' is 64 × 16"),
    ],
)
def test_what_cannot_be_used_whole_is_refused_by_name(network: Any, more: Any, says: str) -> None:
    data = save({name: tensor.clone() for name, tensor in (PLAIN | more).items()})
    with pytest.raises(StyleError, match=says):
        lora.fitted(lora_files.read(data).changes["transformer"], lora.shapes(network))


def test_what_is_said_of_a_lora_must_be_readable() -> None:
    with pytest.raises(StyleError, match="no safetensors file"):
        lora_files.read(save(PLAIN, {"lora_adapter_metadata": "{"}))


def test_the_lora_that_reads_references_may_be_no_dora(network: Any, tmp_path: Path) -> None:
    file = tmp_path / "references.safetensors"
    file.write_bytes(save(PLAIN | {f"{QUERY}.dora_scale": torch.ones(64, 1)}))
    with pytest.raises(CheckpointError, match=r"references.safetensors' cannot be used: .*dora_scale"):
        open_weights.style_lora_at(file, network)
