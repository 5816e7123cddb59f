"""Adapters: their files, networks that carry them, and how they are learnt.

python -m pytest tests/test_lora.py
"""

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save
from torch import nn

from easel.catalog import MODELS
from easel.errors import Cancelled, EngineError, StyleError
from easel.model import lora, lora_files, weights
from easel.model.lora import Change
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Lesson, Materials
from easel.schema.styles import Recipe
from easel.settings import Settings
from easel.style import training
from easel.style.compose import without
from easel.style.imports import examined
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.training import train

LAYER = "transformer_blocks.0.attn.to_q"
SHAPES = weights.shapes(SHIPPED / "turbo" / "weights.safetensors")


def halves(rank: int = 4, size: int = 320) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(rank, size, generator=g), torch.randn(size, rank, generator=g)


def test_every_form_that_trainers_write_says_the_same() -> None:
    down, up = halves()
    alpha = {PEFT_ALPHA: json.dumps({"transformer.r": 4, "transformer.lora_alpha": 2})}
    files = [
        save({f"transformer.{LAYER}.lora_A.weight": down, f"transformer.{LAYER}.lora_B.weight": up}, alpha),
        *(
            save({f"{name}.{a}.weight": down, f"{name}.{b}.weight": up, f"{name}.alpha": torch.tensor(2.0)})
            for name, a, b in (
                (f"base_model.model.{LAYER}", "lora_A", "lora_B"),
                (f"diffusion_model.{LAYER}", "lora_A", "lora_B"),
                ("diffusion_model.blocks.0.attn.wq", "lora_A", "lora_B"),
                (f"lora_unet_{LAYER.replace('.', '_')}", "lora_down", "lora_up"),
                (LAYER, "lora_A.default", "lora_B.default"),
            )
        ),
    ]
    for file in files:
        change = lora.fitted(lora_files.read(file).changes["transformer"], SHAPES)[LAYER]
        assert torch.allclose(change.whole(), 0.5 * up @ down, atol=1e-4)


PEFT_ALPHA = "lora_adapter_metadata"


def test_what_is_written_is_read_again() -> None:
    changes = {"decoder": {"enter": Change(torch.randn(2, 3, 3, 3), torch.randn(4, 2, 1, 1), 0.5)}}
    file = lora_files.read(lora_files.written(changes, {"code": torch.ones(3)}, {"model": "k2"}))
    assert torch.allclose(file.changes["decoder"]["enter"].whole(), changes["decoder"]["enter"].whole())
    assert (file.others["code"].tolist(), file.metadata) == ([1, 1, 1], {"model": "k2"})


def test_a_file_that_diffusers_reads_too() -> None:
    from diffusers.loaders.lora_pipeline import Krea2LoraLoaderMixin

    down, up = halves()
    file = lora_files.written({"transformer": {LAYER: Change(down, up)}}, {}, {})
    state = Krea2LoraLoaderMixin.lora_state_dict(lora_files.load(file))
    assert set(state) == {f"transformer.{LAYER}.lora_A.weight", f"transformer.{LAYER}.lora_B.weight"}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"blocks.0.weight": torch.zeros(4, 4)}, "no LoRA"),
        ({f"{LAYER}.lora_A.weight": torch.zeros(4, 320)}, "lacks a half"),
        (
            {f"{LAYER}.lora_A.weight": torch.zeros(4, 320), f"{LAYER}.lora_B.weight": torch.zeros(320, 5)},
            "do not fit",
        ),
    ],
)
def test_a_file_that_is_no_lora_says_why(tensors: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(StyleError, match=says):
        lora_files.read(save(tensors))


def test_a_file_is_for_the_model_that_its_layers_fit() -> None:
    def written(layer: str, size: int = 320, **metadata: str) -> bytes:
        down, up = halves(size=size)
        return lora_files.written({"transformer": {layer: Change(down, up)}}, {}, metadata)

    fifth = written("transformer_blocks.5.attn.to_q")
    assert examined(fifth, Settings(), None).model == "k2-large"
    with pytest.raises(StyleError, match="no such layer"):
        examined(fifth, Settings(), "k2")
    assert examined(written(LAYER, model="k2", trigger_word="woodcut"), Settings(), None) == (
        "k2",
        "",
        "woodcut",
    )
    with pytest.raises(StyleError, match="--model"):
        examined(written(LAYER), Settings(), None)
    with pytest.raises(StyleError, match=r"6144 × 6144.*320 × 320"):
        examined(written(LAYER, size=6144), Settings(), None)


def network() -> nn.Sequential:
    torch.manual_seed(2)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 64, 5)).requires_grad_(
        False
    )


def test_a_network_that_carries_a_change_is_the_one_that_learnt_it() -> None:
    plain, learning = network(), network()
    x, parameters = torch.randn(2, 3, 8, 8), lora.beside(learning, ["0", "2"], rank=2)
    assert torch.equal(learning(x), plain(x))
    for parameter in parameters.values():
        nn.init.normal_(parameter)
    changes = {
        name: Change(
            parameters[f"{name}.lora_A.weight"].detach(), parameters[f"{name}.lora_B.weight"].detach()
        )
        for name in ("0", "2")
    }
    carrying = lora.adapted(plain, [(changes, 1.0)])
    assert torch.allclose(carrying(x), learning(x), atol=1e-4)


def test_changes_add_up_and_the_network_below_stays_as_it_was() -> None:
    plain, x = network(), torch.randn(2, 3, 8, 8)
    before = copy.deepcopy(plain.state_dict())
    one, other = ({"2": Change(torch.randn(2, 256), torch.randn(5, 2))} for _ in range(2))
    carrying = lora.adapted(plain, [(one, 0.5), (other, -2.0)])
    wanted = plain[2].weight + 0.5 * one["2"].whole() - 2 * other["2"].whole()
    assert torch.allclose(carrying[2].weight, wanted, atol=1e-5)
    assert carrying[0].weight is plain[0].weight
    assert all(torch.equal(before[name], tensor) for name, tensor in plain.state_dict().items())
    assert not torch.equal(carrying(x), plain(x))


class Book:
    """Remembers what a training tells it, and breaks it off after some steps."""

    def __init__(self, state: bytes | None = None, steps: int = 1000):
        self.state, self._most = state, steps
        self.told: list[int] = []

    def step(self, number: int) -> None:
        self.told.append(number)
        if len(self.told) >= self._most:
            raise Cancelled

    def keep(self, state: bytes) -> None:
        self.state = state


def lessons() -> list[Lesson]:
    stripes = Image.open(io.BytesIO((Path(__file__).parents[1] / "docs/reference.png").read_bytes())).convert(
        "RGB"
    )
    return [Lesson(stripes.rotate(90 * turn), "a thing" if turn else "") for turn in range(3)]


def paint(painter: NanoPainter, *adapters: Adapter, prompt: str = "a fox") -> Any:
    request = GenerationRequest(prompt=prompt, creativity="raw")
    materials = Materials(adapters=adapters)
    return painter.paint(request, materials, MODELS["medium-turbo"], 1, lambda step: None)


def test_a_style_is_learnt_goes_on_where_it_was_broken_off_and_paints(
    painter: NanoPainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "KEPT_EVERY", 0)
    recipe = Recipe(name="woodcuts", max_train_steps=3, batch_size=1, trigger_word="zigzag")
    before = paint(painter).image
    first = Book(steps=2)
    with pytest.raises(Cancelled):
        train(painter._krea, lessons(), recipe, first)
    second = Book(first.state)
    trained = painter.train(lessons(), recipe, second)
    assert (first.told, second.told) == ([1, 2], [3])
    assert trained.details["steps"] == 3

    file = lora_files.read(trained.adapter)
    assert {"base", "architecture", "look"} <= file.metadata.keys()
    assert file.metadata["base"] == painter.checkpoint
    assert any(change.up.any() for change in file.changes["transformer"].values())
    whole, half, none, away = (
        paint(painter, *([Adapter("a", trained.adapter, "zigzag", s)] if s else [])) for s in (1, 0.5, 0, -1)
    )
    assert none.image.tobytes() == before.tobytes() == paint(painter).image.tobytes()
    assert len({picture.image.tobytes() for picture in (whole, half, none, away)}) == 4
    assert whole.prompt == "a fox, zigzag"
    assert away.prompt == "a fox"
    assert [look["technique"] for look in whole.details["looks"]] == [trained.details["technique"]]
    said = paint(painter, Adapter("a", trained.adapter, "zigzag", 1), prompt="a fox, Zigzag")
    assert said.image.tobytes() == whole.image.tobytes()


def test_a_lora_from_elsewhere_changes_the_transformer_alone(painter: NanoPainter) -> None:
    down, up = halves()
    data = lora_files.written({"transformer": {LAYER: Change(down, up)}}, {}, {})
    painted = paint(painter, Adapter("b", data, "", 1.0))
    assert painted.details["looks"] == []
    assert painted.image.tobytes() != paint(painter).image.tobytes()


def test_a_style_of_another_checkpoint_fails_the_picture_with_what_is_needed(painter: NanoPainter) -> None:
    down, up = halves(size=64)
    data = lora_files.written({"transformer": {LAYER: Change(down, up)}}, {}, {})
    with pytest.raises(EngineError, match=r"'c'.*64 × 64.*320 × 320"):
        paint(painter, Adapter("c", data, "", 1.0))


@pytest.mark.parametrize(
    ("prompt", "left"),
    [
        ("a fox, zigzag", "a fox"),
        ("zigzag, a fox", "a fox"),
        ("a zigzag fox", "a fox"),
        ("zigzagging fox", "zigzagging fox"),
        ("ZigZag", "a picture"),
    ],
)
def test_trigger_words_are_no_things_to_be_drawn(prompt: str, left: str) -> None:
    assert without(prompt, ["zigzag", ""]) == left
