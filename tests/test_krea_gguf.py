"""python -m pytest tests/test_krea_gguf.py — Krea's transformers out of GGUF files."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny_krea
import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from test_krea import engine, tokens, wanted
from test_krea_fast import velocity
from test_krea_fits import CPU, GB, check_fit, true_plan

from easel.catalog import MODELS
from easel.cli.main import app
from easel.errors import CheckpointError
from easel.model import hub, lora
from easel.model.backend import Backend
from easel.model.block import product
from easel.model.eight_bits import Linear8
from easel.model.files import fingerprint
from easel.model.fitting import fitted, precisions
from easel.model.four_bits import Linear4
from easel.model.gguf_bits import KINDS, LinearGguf
from easel.model.lora import Change, Style
from easel.model.official import diffusers_name
from easel.model.open_weights import Plan, planned, transformer_at
from easel.model.streaming import Stream, packed
from easel.model.worn import worn
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials
from easel.settings import KreaSources
from easel.style.krea import KreaPainter

QUERY = "transformer_blocks.1.attn.to_q"


@pytest.fixture(scope="module")
def q8(tiny_turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As stable-diffusion.cpp names its weights, of an architecture that nobody has heard of."""
    file = tmp_path_factory.mktemp("gguf") / "turbo.GGUF"
    return tiny_krea.save_gguf(tiny_turbo, file, "Q8_0", "model.diffusion_model.", "unheard of")


@pytest.fixture(scope="module")
def network(q8: Path) -> Krea2Transformer2DModel:
    return transformer_at(q8).load(CPU)


def layers(network: torch.nn.Module, kind: type = LinearGguf) -> dict[str, Any]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, kind)}


# What is read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at_once", [2**27, 2**13])  # in one piece, in four
def test_a_matrix_of_any_bytes_is_widened_as_ggml_widens_it(kind, at_once, monkeypatch):
    monkeypatch.setattr("easel.model.gguf_bits.AT_ONCE", at_once)
    layer = LinearGguf(512, 64, kind, bias=False)
    raw = np.random.default_rng(0).integers(0, 256, layer.weight_packed.shape, dtype=np.uint8)
    layer.weight_packed = torch.from_numpy(raw)
    with np.errstate(all="ignore"):  # some scales are no numbers
        theirs = gguf.dequantize(raw.reshape(64, -1), GGMLQuantizationType[kind])
    assert np.isfinite(theirs).mean() > 0.9
    assert np.array_equal(layer.widened(torch.float32).numpy(), theirs, equal_nan=True)
    assert layer.weight.dtype == torch.bfloat16


def test_a_file_gives_the_very_values_that_it_holds(q8, network, tiny_turbo):
    for one in gguf.GGUFReader(q8).tensors:
        name = diffusers_name(one.name.removeprefix("model.diffusion_model."))
        theirs = torch.from_numpy(gguf.dequantize(np.array(one.data), one.tensor_type))
        layer = layers(network).get(name.removesuffix(".weight"))
        if layer is not None and name.endswith(".weight"):
            assert torch.equal(layer.widened(torch.float32), theirs)
        else:
            mine = network.get_parameter(name)
            assert torch.equal(mine, theirs.to(mine.dtype).view(mine.shape))
    assert network.config.num_layers == transformer_at(tiny_turbo).network.config.num_layers


def test_every_matrix_of_whole_blocks_stays_in_them(network):
    others = {
        name for name, layer in layers(network, torch.nn.Linear).items() if type(layer) is not LinearGguf
    }
    assert others == {"img_in", "text_fusion.projector"}  # of 16 and 3 columns
    assert network.time_mod_proj.bias.dtype == torch.bfloat16
    assert network.transformer_blocks[0].norm1.weight.dtype == torch.float32
    assert network.text_fusion.projector.weight.shape == (1, 3)


def test_the_memory_is_known_to_the_byte_before_any_is_taken(q8, network):
    part = transformer_at(q8)
    assert part.precision == "Q8_0"
    assert part.bytes == sum(weight.nbytes for weight in network.state_dict().values())
    blocks = [sum(w.nbytes for w in block.state_dict().values()) for block in network.transformer_blocks]
    assert part.block_bytes == blocks


def test_what_a_file_keeps_in_halves_is_read_like_any_halves(tiny_turbo, tmp_path):
    for kind in ("BF16", "F16"):
        part = transformer_at(tiny_krea.save_gguf(tiny_turbo, tmp_path / f"{kind}.gguf", kind))
        whole = transformer_at(tiny_turbo).network.state_dict().keys()
        assert part.precision == "bfloat16"
        assert part.load(CPU).state_dict().keys() == whole


@pytest.mark.parametrize(("kind", "apart"), [("Q8_0", 0.01), ("Q5_1", 0.03), ("Q4_0", 0.06)])
def test_pictures_are_nearly_those_of_the_whole_weights(tiny_turbo, tmp_path, kind, apart):
    file = tiny_krea.save_gguf(tiny_turbo, tmp_path / "one.gguf", kind)
    plain, mine = (
        tokens(engine(tiny_turbo, turbo=place).unfinished(wanted())) for place in (tiny_turbo, file)
    )
    assert 0 < (mine - plain).norm() / plain.norm() < apart


# What is done with it


def test_the_painter_says_what_it_paints_with(q8, tiny_turbo, small):
    painter = KreaPainter.load(KreaSources(str(q8), None, str(tiny_turbo)))
    route = MODELS["medium-turbo"]
    painting = painter.paint(GenerationRequest(prompt="a fox"), Materials(), route, 7, lambda step: None)
    assert painting.image.size == (64, 64)
    assert painting.details["fit"]["precision"] == "Q8_0"


@pytest.mark.parametrize("streamed", [1, 3])
def test_streamed_blocks_say_the_very_same(q8, network, streamed):
    other = transformer_at(q8).load(CPU)
    other.backend = Backend(at_hand=Stream(other, packed(other, streamed, CPU), CPU))
    with torch.inference_mode():
        assert torch.equal(velocity(other), velocity(network))


@torch.no_grad()
def test_a_lora_acts_beside_matrices_in_blocks(network):
    layer, x = network.get_submodule(QUERY), torch.randn(2, 5, 64)
    changes = {QUERY: Change(torch.randn(4, 64), torch.randn(64, 4), 0.5)}
    whole = layer.widened(torch.float32) + 0.7 * changes[QUERY].whole()
    before = layer(x)
    block, name = network.transformer_blocks[1], QUERY.removeprefix("transformer_blocks.1.")
    with worn(network, [Style("ink", changes, 0.7)]):
        found = product(block, name, x, network.added[1])
    assert (found - F.linear(x, whole)).abs().max() < 1e-5 * before.abs().max()
    assert torch.equal(layer(x), before)


def test_gradients_reach_a_lora_beside_every_matrix(q8):
    network = transformer_at(q8).load(CPU)
    network.enable_gradient_checkpointing()
    names = [name for name in lora.shapes(network) if name.startswith("transformer_blocks.")]
    learnt = lora.beside(network, names, rank=2)
    velocity(network).float().square().mean().backward()
    ups = [parameter for name, parameter in learnt.items() if name.endswith(lora.UP)]
    assert len(ups) == len(names) == 24
    assert all(up.grad.isfinite().all() and up.grad.any() for up in ups)


# What fits


@pytest.mark.parametrize(
    ("precision", "kind"), [("bf16", torch.nn.Linear), ("fp8", Linear8), ("nf4", Linear4)]
)
def test_a_precision_that_is_asked_for_is_made_of_the_blocks(q8, network, precision, kind):
    if precision == "nf4":
        pytest.importorskip("bitsandbytes")
    part = transformer_at(q8).in_precision(precision)
    other = part.load(CPU)
    assert type(other.get_submodule(QUERY)) is kind
    assert type(other.time_mod_proj) is LinearGguf
    assert part.precision == {"bf16": "bfloat16"}.get(precision, precision)
    with torch.inference_mode():
        apart = (velocity(other) - velocity(network)).norm() / velocity(network).norm()
    assert apart < {"bf16": 0.01, "fp8": 0.06, "nf4": 0.2}[precision]
    if precision == "bf16":
        assert torch.equal(other.get_submodule(QUERY).weight, network.get_submodule(QUERY).weight)


@pytest.fixture(scope="module")
def true_q4(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A Q4_K_M of 12.8 billion weights, of which only the header was written: each matrix of whole blocks in
    Q4_K, those that make values in Q6_K, all else in float32."""
    file = tmp_path_factory.mktemp("true") / "turbo.gguf"

    def kind_of(name: str, shape: list[int]) -> GGMLQuantizationType:
        if len(shape) < 2 or shape[-1] % 256 or "table" in name:
            return GGMLQuantizationType.F32
        return GGMLQuantizationType["Q6_K" if ".to_v." in name else "Q4_K"]

    end = 0
    for kind, count in tiny_krea.save_true_header(file, kind_of).values():
        size, room = GGML_QUANT_SIZES[kind]
        end += -(-count // size * room // 32) * 32
    os.truncate(file, -(-file.stat().st_size // 32) * 32 + end)
    return replace(true_plan(), transformers={"turbo": transformer_at(file)})


def test_the_true_model_is_known_from_its_header_alone(true_q4):
    part = true_q4.transformers["turbo"]
    assert part.network.config.num_layers == 28
    assert part.network.config.num_text_layers == 12  # of a matrix of one row, which has lost it
    assert part.precision == "Q4_K"
    assert part.bytes == pytest.approx(7.29 * GB, rel=0.001)


def test_a_checkpoint_is_named_by_its_header_and_its_end(true_q4, q8, tmp_path):
    fingerprint(
        {one.file for one in true_q4.transformers["turbo"].weights.values()}
    )  # 7 GB: who read all of it would not come back soon
    data, names = bytearray(q8.read_bytes()), set()
    for place in (None, data.index(b"unheard"), len(data) - 1):
        if place is not None:
            data[place] ^= 1
        (tmp_path / "turbo.gguf").write_bytes(data)
        names.add(fingerprint([tmp_path / "turbo.gguf"]))
    assert len(names) == 3


@pytest.mark.parametrize(
    ("wanted", "card", "precision", "text_beside", "streamed"),
    [
        ("auto", 20, "Q4_K", True, 0),
        ("auto", 11.5, "Q4_K", False, 0),
        ("auto", 7.5, "Q4_K", False, 11),
        ("fp8", 20, "fp8", False, 0),
    ],
)
def test_a_file_is_taken_as_it_is_stored(true_q4, wanted, card, precision, text_beside, streamed):
    check_fit(true_q4, wanted, card, (precision, text_beside, streamed))


def test_beside_a_file_in_blocks_half_precision_is_still_rounded(true_q4):
    plan = replace(true_q4, transformers=true_q4.transformers | {"raw": true_plan().transformers["raw"]})
    fit = fitted(plan, "auto", 26 * GB, 96 * GB)
    assert [part.precision for part in fit.plan.transformers.values()] == ["Q4_K", "fp8"]


def test_what_is_computed_of_the_true_file_is_what_the_document_says(true_q4):
    (name, *sizes), *others = precisions(true_q4)
    assert name == "Q4_K"
    assert [row[0] for row in others] == ["bf16", "fp8", "nf4"]
    document = (Path(__file__).parents[1] / "docs" / "krea.md").read_text()
    assert f"| GGUF, `Q4_K_M` | {' | '.join(sizes)} |" in document


def test_the_command_line_lists_and_checks_it(q8, tiny_turbo, monkeypatch, capsys):
    for name, value in {"TURBO": q8, "RAW": "", "PARTS": tiny_turbo}.items():
        monkeypatch.setenv(f"EASEL_KREA_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "300")
    for command in ("list", "check"):
        app(["models", command], standalone_mode=False)
    told = capsys.readouterr().out
    assert told.count(str(q8)) >= 1
    assert "turbo  whole, 0.0 GB of memory" in told
    assert "precision Q8_0, text_encoder beside the transformer, streamed_blocks 0 of 3" in told


# What is refused


@pytest.mark.parametrize("left", [-1, 300, 20])
def test_a_file_that_is_cut_short_is_refused(q8, tmp_path, left):
    (tmp_path / "cut.gguf").write_bytes(q8.read_bytes()[:left])
    with pytest.raises(CheckpointError, match=r"cut.gguf' is cut short at [\d,]+ bytes, or .*: fetch"):
        transformer_at(tmp_path / "cut.gguf")


def test_what_is_no_gguf_file_is_refused(tmp_path):
    for data in (b"", b"<html>not found</html>"):
        (tmp_path / "page.gguf").write_bytes(data)
        with pytest.raises(CheckpointError, match=r"page.gguf' is no GGUF file: fetch it again"):
            transformer_at(tmp_path / "page.gguf")
    with pytest.raises(CheckpointError, match=r"absent.gguf' is missing: fetch"):
        transformer_at(tmp_path / "absent.gguf")
    with pytest.raises(CheckpointError, match=r"there is no folder or file 'models/krea.gguf': name one"):
        hub.at_hand("models/krea.gguf", ())


def test_another_network_is_refused_whatever_it_calls_itself(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "flux.gguf", "krea2")
    writer.add_tensor("double_blocks.0.img_attn.proj.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match="it is no Krea 2 transformer: it lacks"):
        transformer_at(tmp_path / "flux.gguf")


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (39, "blocks.0.attn.wq.weight' is kept as MXFP4: take a file in BF16, .* or a GGUF file of .*Q4_K"),
        (24, "blocks.0.attn.wq.weight' is kept as I8: take a file in BF16"),
        (99, r"99\)? is not a valid GGMLQuantizationType\): .* take one in Q8_0"),
    ],
)
def test_a_kind_that_is_not_known_is_refused_by_name(q8, tmp_path, number, says):
    data = bytearray(q8.read_bytes())
    name = b"blocks.0.attn.wq.weight"
    place = data.index(name) + len(name) + 4 + 2 * 8  # behind the number of dimensions, and the two
    assert int.from_bytes(data[place : place + 4], "little") == GGMLQuantizationType.Q8_0
    data[place : place + 4] = number.to_bytes(4, "little")
    (tmp_path / "odd.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match=says):
        transformer_at(tmp_path / "odd.gguf")


def test_a_file_needs_the_other_parts_from_elsewhere(q8):
    with pytest.raises(CheckpointError, match="set EASEL_KREA_PARTS"):
        planned({"turbo": q8}, q8)
