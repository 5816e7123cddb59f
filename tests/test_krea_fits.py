"""python -m pytest tests/test_krea_fits.py — Krea's weights in less memory: precision, streamed blocks."""

import importlib.util
from contextlib import suppress
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import tiny_krea
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLQwenImage, Krea2Transformer2DModel
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from tiny_krea import rotary
from transformers import Qwen3VLConfig, Qwen3VLModel

from easel.catalog import MODELS
from easel.cli.main import app
from easel.errors import Cancelled, CheckpointError
from easel.model import fitting, open_weights
from easel.model.backend import Backend
from easel.model.eight_bits import Linear8
from easel.model.files import Stored
from easel.model.fitting import Fit, Wanted, fitted, precisions
from easel.model.four_bits import Linear4
from easel.model.hub import here, places
from easel.model.open_weights import Plan
from easel.model.part import Part, part_of
from easel.model.streaming import Stream, is_streamed, packed
from easel.model.transformer import fuse_text, predict
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials
from easel.settings import KreaSources, Settings
from easel.style.krea import KreaPainter

CPU = torch.device("cpu")
GB = 1e9


@pytest.fixture(scope="module")
def turbo(tiny_turbo: Path) -> Path:
    return tiny_turbo


@pytest.fixture(scope="module")
def halved(turbo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The transformer in half precision, as it is published."""
    folder = tmp_path_factory.mktemp("half") / "transformer"
    network = Krea2Transformer2DModel.from_pretrained(turbo / "transformer")
    network.to(torch.bfloat16).save_pretrained(folder)
    return folder.parent


def velocity(network: Krea2Transformer2DModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x, states = torch.randn(1, 24, 16, generator=generator), torch.randn(1, 7, 3, 32, generator=generator)
    like = network.img_in.weight
    with torch.inference_mode():
        text = fuse_text(network, states.to(like))
        return predict(network, x.to(like), torch.tensor([0.6]), text, rotary(network, 4, 6)).float()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


# Precision


def test_half_precision_is_rounded_to_eight_bits_as_it_is_read(halved):
    part = open_weights.transformer_at(halved)
    eight = part.in_precision("fp8")
    network = eight.load(CPU)
    assert isinstance(network.transformer_blocks[2].ff.down, Linear8)
    assert type(network.img_in) is torch.nn.Linear
    assert (part.precision, eight.precision) == ("bfloat16", "fp8")
    assert eight.bytes == sum(
        w.nbytes for name, w in network.state_dict().items() if not name.endswith("weight_scale")
    )
    assert 0 < apart(velocity(network), velocity(part.load(CPU))) < 0.06


def test_a_file_of_eight_bits_is_widened_where_that_is_asked_for(turbo, tmp_path):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors", eight_bits=True)
    stored = open_weights.transformer_at(file)
    wide = stored.in_precision("bf16").load(CPU)
    assert not any(isinstance(layer, Linear8) for layer in wide.modules())
    assert wide.transformer_blocks[0].attn.to_q.bias is None
    assert apart(velocity(wide), velocity(stored.load(CPU))) < 0.01


def test_what_a_file_of_eight_bits_keeps_whole_stays_whole(turbo, tmp_path):
    file = tiny_krea.save_single_file(turbo, tmp_path / "one.safetensors", eight_bits=True)
    state = load_file(file)
    del state["blocks.0.attn.wq.weight_scale"]
    state["blocks.0.attn.wq.weight"] = torch.randn(64, 64).bfloat16()
    save_file(state, file)
    for part in (open_weights.transformer_at(file), open_weights.transformer_at(file).in_precision("fp8")):
        attention = part.network.transformer_blocks[0].attn
        assert not isinstance(attention.to_q, Linear8)
        assert isinstance(attention.to_k, Linear8)


def test_four_bits_without_their_package_say_what_to_install(turbo, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "easel.model.four_bits.find_spec", lambda name: None if name == "bitsandbytes" else found(name)
    )
    plan = open_weights.planned({"turbo": turbo}, turbo)
    with pytest.raises(CheckpointError, match="needs bitsandbytes, which is not installed: pip install bits"):
        fitted(plan, "nf4", 80 * GB, 80 * GB)


def test_four_bits_paint_nearly_the_same(halved):
    pytest.importorskip("bitsandbytes")
    part = open_weights.transformer_at(halved)
    four = part.in_precision("nf4")
    network = four.load(CPU)
    assert isinstance(network.transformer_blocks[0].attn.to_v, Linear4)
    assert four.precision == "nf4"
    assert four.bytes == sum(w.nbytes for w in network.state_dict().values())
    assert 0.01 < apart(velocity(network), velocity(part.load(CPU))) < 0.2


def test_a_precision_that_is_none_is_refused():
    assert Settings(precision="fp8").krea.precision == "fp8"
    assert Settings().krea.precision == "auto"
    with pytest.raises(ValidationError, match="'auto', 'bf16', 'fp8' or 'nf4'"):
        Settings(precision="int8")


# What fits


@cache
def true_plan() -> Plan:
    """The true models, of which no weight exists."""

    def stored(network: torch.nn.Module) -> dict[str, Stored]:
        state = network.state_dict()
        return {name: Stored(Path("x"), name, "BF16", tuple(w.shape)) for name, w in state.items()}

    def part(network: torch.nn.Module) -> Part:
        return part_of(network, stored(network))

    with init_empty_weights():
        transformer = Krea2Transformer2DModel()
        text, vae = Qwen3VLModel(Qwen3VLConfig(**tiny_krea.TRUE_TEXT)), AutoencoderKLQwenImage()
    return Plan({"turbo": part(transformer), "raw": part(transformer)}, part(text), part(vae), Path("x"))


@pytest.mark.parametrize(
    ("wanted", "card", "precision", "text_beside", "streamed"),
    [
        ("auto", 80, "bfloat16", True, 0),
        ("auto", 31, "bfloat16", False, 0),
        ("auto", 25, "fp8", True, 0),
        ("auto", 23, "fp8", False, 0),
        ("auto", 16, "fp8", False, 0),
        ("auto", 15.5, "fp8", False, 3),
        ("auto", 11.5, "fp8", False, 12),
        ("auto", 7.5, "fp8", False, 21),
        ("bf16", 23, "bfloat16", False, 8),
        ("nf4", 11.5, "nf4", False, 0),
    ],
)
def test_the_true_model_is_fitted_to_a_card(wanted, card, precision, text_beside, streamed, monkeypatch):
    monkeypatch.setattr(fitting, "four_bits", lambda: None)
    check_fit(true_plan(), wanted, card, (precision, text_beside, streamed))


def check_fit(plan: Plan, wanted: Wanted, card: float, expected: tuple[str, bool, int]) -> None:
    """On a card of so many GB, the plan is kept in this precision, with the text encoder beside it or not,
    and so many blocks streamed."""
    fit = fitted(plan, wanted, card * GB, 96 * GB)
    told = next(iter(fit.plan.transformers.values())).precision
    assert told == fit.told["precision"]
    assert (told, fit.text_beside, fit.streamed) == expected
    assert fit.need <= card * GB


def test_where_nothing_fits_the_least_of_it_is_told():
    plan = true_plan()
    with pytest.raises(
        CheckpointError, match=r"takes 4\.\d GB of memory here, and 4\.0 GB are free: take a l"
    ):
        fitted(plan, "auto", 4 * GB, 96 * GB)
    with pytest.raises(CheckpointError, match=r"and 4\.0 GB are free: .*, or set EASEL_PRECISION=auto"):
        fitted(plan, "bf16", 4 * GB, 96 * GB)
    with pytest.raises(
        CheckpointError, match=r"takes \d+\.\d GB of the machine's own .*13\.0 GB are free: add"
    ):
        fitted(plan, "auto", 12 * GB, 13 * GB)
    with pytest.raises(CheckpointError, match=r"takes 24\.\d GB of memory here, and 20\.0 GB are free"):
        fitted(plan, "auto", 20 * GB, None)  # a processor streams nothing


def test_references_in_the_pictures_own_sequence_are_reckoned_with(turbo):
    sources = KreaSources(str(turbo), None, str(turbo), style_lora="lora.safetensors")
    assert open_weights.planned(*places(sources, here)).in_context
    plan = replace(true_plan(), in_context=True)
    assert Fit(plan).need == Fit(true_plan()).need + 6 * GB
    assert fitted(plan, "auto", 15.5 * GB, 96 * GB).streamed == 17
    with pytest.raises(CheckpointError, match="take a larger GPU, or do without EASEL_KREA_STYLE_LORA"):
        fitted(plan, "auto", 7.5 * GB, 96 * GB)


# Blocks streamed


def test_streamed_blocks_are_spread_evenly():
    for streamed in range(29):
        chosen = [i for i in range(28) if is_streamed(i, streamed, 28)]
        assert len(chosen) == streamed
        between = [after - before for before, after in pairwise(chosen)]
        assert not between or max(between) - min(between) <= 1


def eight_blocks() -> Krea2Transformer2DModel:
    torch.manual_seed(0)
    network = tiny_krea.shaken(Krea2Transformer2DModel(**tiny_krea.TRANSFORMER | {"num_layers": 8}))
    return network.eval().requires_grad_(False)


def stream(network: Krea2Transformer2DModel, streamed: int) -> Stream:
    """So many of the network's blocks brought from elsewhere."""
    made = Stream(network, packed(network, streamed, CPU), CPU)
    network.backend = Backend(at_hand=made)
    return made


@pytest.mark.parametrize("streamed", [1, 3, 5, 8])
@pytest.mark.parametrize("eight", [False, True])
def test_streamed_blocks_say_the_very_same(streamed, eight):
    network = tiny_krea.kept_in_eight_bits(eight_blocks()) if eight else eight_blocks()
    wanted = velocity(network)
    stream(network, streamed)
    for _ in range(3):
        assert torch.equal(velocity(network), wanted)


@pytest.mark.parametrize("again", [False, True])
def test_two_blocks_at_most_are_on_the_device(again):
    network = eight_blocks()
    at_hand = stream(network, 8)
    rooms = {room.bytes.untyped_storage().data_ptr() for room in at_hand._rooms}
    for i in reversed(range(8)) if again else range(8):
        block = network.transformer_blocks[i]
        with at_hand(i, again):
            at_work = {weight.untyped_storage().data_ptr() for weight in block.parameters()}
            assert len(at_work) == 1
            assert at_work <= rooms
            others = [w for one in network.transformer_blocks if one is not block for w in one.parameters()]
            assert not rooms & {weight.untyped_storage().data_ptr() for weight in others}


def test_the_next_block_is_on_its_way_there_and_back(monkeypatch):
    network = eight_blocks()
    at_hand, sent = stream(network, 4), []
    bring = Stream._bring
    monkeypatch.setattr(Stream, "_bring", lambda self, i, *given: sent.append(i) or bring(self, i, *given))
    for i in range(8):
        with at_hand(i):
            assert i % 2 == 0 or {room.block for room in at_hand._rooms} == {i, (i + 2) % 8}
    for i in reversed(range(8)):
        with at_hand(i, again=True):
            assert i % 2 == 0 or {room.block for room in at_hand._rooms} == {i, i - 2 if i > 1 else 3}
    assert sent == [1, 3, 3, 5, 5, 7, 7, 1, 7, 5, 5, 3, 3, 1, 1, 1]


def test_a_forward_that_breaks_off_spoils_nothing():
    network = eight_blocks()
    wanted = velocity(network)
    at_hand = stream(network, 5)
    for reached in (0, 3, 7):
        with suppress(Cancelled):
            for i in range(8):
                with at_hand(i):
                    if i == reached:
                        raise Cancelled
        assert torch.equal(velocity(network), wanted)


def test_a_painter_whose_blocks_are_streamed_paints_the_same(turbo, monkeypatch):
    monkeypatch.setattr("easel.schema.generation.SIZES", {"1:1": (128, 128)})
    sources, pictures = KreaSources(str(turbo), None, str(turbo)), []
    for streamed in (0, 3):
        monkeypatch.setattr(
            "easel.style.krea.fitted",
            lambda plan, *room, s=streamed: Fit(plan, text_beside=s == 0, streamed=s),
        )
        painter = KreaPainter.load(sources)
        asked = GenerationRequest(prompt="a fox")
        pictures.append(painter.paint(asked, Materials(), MODELS["medium-turbo"], 7, lambda step: None))
    assert pictures[0].image.tobytes() == pictures[1].image.tobytes()
    assert pictures[0].details["fit"]["streamed_blocks"] == "0 of 3"
    assert pictures[1].details["fit"] == {
        "precision": "float32",
        "text_encoder": "on the processor",
        "streamed_blocks": "3 of 3",
        "memory_gb": 2.0,
    }


def test_the_command_line_tells_what_each_precision_takes(turbo, monkeypatch, capsys):
    for name, value in {"TURBO": turbo, "RAW": ""}.items():
        monkeypatch.setenv(f"EASEL_KREA_{name}", str(value))
    app(["models", "check"], standalone_mode=False)
    told = capsys.readouterr().out
    assert all(precision in told for precision in ("bf16", "fp8", "nf4"))
    assert "precision float32, text_encoder beside the transformer, streamed_blocks 0 of 3" in told


def test_the_command_line_tells_what_a_training_takes(tiny_turbo, tiny_raw, monkeypatch, capsys):
    for name, value in {"TURBO": tiny_turbo, "RAW": tiny_raw}.items():
        monkeypatch.setenv(f"EASEL_KREA_{name}", str(value))
    app(["models", "check"], standalone_mode=False)
    assert "GB, a training" in capsys.readouterr().out


def test_what_is_computed_of_the_true_model_is_what_the_document_says():
    rows = {precision: sizes for precision, *sizes in precisions(true_plan())}
    document = (Path(__file__).parents[1] / "docs" / "krea.md").read_text()
    for precision, sizes in rows.items():
        assert f"| `{precision}` | {' | '.join(sizes)} |" in document
    for card in (15.5, 11.5, 7.5):
        fit = fitted(true_plan(), "auto", card * GB, 96 * GB)
        line = next(line for line in document.splitlines() if line.startswith(f"| {card} GB"))
        assert f"{fit.streamed} of 28 blocks streamed | {fit.outside / GB:.0f} GB |" in line
