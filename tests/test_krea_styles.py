"""python -m pytest tests/test_krea_styles.py — LoRA styles on tiny weights, painted in and imported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from test_krea_lora import CPU, FORMS, QUERY, A, B
from tiny_krea import pictured

from easel.catalog import MODELS
from easel.cli.main import app
from easel.errors import EngineError, StyleError
from easel.model import lora_files, open_weights
from easel.model.lora import Change
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Materials, Painting, Reference
from easel.settings import KreaSources, Settings
from easel.style import krea_styles
from easel.style.imports import examined
from easel.style.krea import KreaPainter
from easel.style.krea_styles import KreaWardrobe, with_triggers

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def painter(tiny_turbo: Path, tiny_raw: Path) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))


def style(seed: int, strength: float, trigger_word: str = "") -> Adapter:
    """A LoRA of the queries, as musubi writes it."""
    g = torch.Generator().manual_seed(seed)
    layers = {
        f"transformer_blocks.{i}.attn.to_q": (
            torch.randn(3, 64, generator=g),
            torch.randn(64, 3, generator=g),
        )
        for i in range(3)
    }
    return Adapter(f"style {seed}", FORMS["musubi"][0](layers), trigger_word, strength)


def paint(painter: KreaPainter, *adapters: Adapter, route: str = "medium", **more: Any) -> Painting:
    request = GenerationRequest(prompt="a fox")
    return painter.paint(request, Materials(adapters=adapters, **more), MODELS[route], 7, lambda step: None)


@pytest.mark.parametrize("route", ["medium", "medium-turbo", "large"])
def test_styles_move_the_picture_and_leave_no_trace(painter: KreaPainter, route: str) -> None:
    plain = paint(painter, route=route)
    one, other = style(1, 0.6), style(2, -0.6)
    painted = [
        paint(painter, *worn, route=route)
        for worn in ((one,), (other,), (one, other), (style(1, 1.2),), (style(1, -1),), (style(1, 0),), ())
    ]
    bytes_of = [painting.image.tobytes() for painting in painted]
    assert len(set(bytes_of)) == 6
    assert bytes_of[5] == bytes_of[6] == plain.image.tobytes()
    assert painted[2].details["styles"] == {"style 1": 0.6, "style 2": -0.6}
    again = paint(painter, other, one, route=route).image
    difference = torch.tensor(list(again.tobytes())) - torch.tensor(list(bytes_of[2]))
    assert difference.abs().max() <= 1  # their order means nothing


def test_words_for_styles_join_the_prompt_at_its_end(painter: KreaPainter) -> None:
    assert paint(painter, style(1, 1.0, "ink wash"), style(2, -1.0, "woodcut")).prompt == "a fox, ink wash"
    said = [style(1, 1.0, "Ink"), style(2, 1.0, "ink"), style(3, 1.0, "art")]
    assert with_triggers("a party in INK", said) == "a party in INK, art"


def test_a_style_of_another_model_fails_the_picture_with_what_is_needed(painter: KreaPainter) -> None:
    nano = lora_files.written(
        {"transformer": {QUERY: Change(torch.ones(2, 320), torch.ones(320, 2))}, "decoder": {}}, {}, {}
    )
    with pytest.raises(EngineError, match=r"'a' cannot be used.*320 × 320.*is 64 × 64.*EASEL_MODELS"):
        paint(painter, Adapter("a", nano, "", 1.0))
    decoder = lora_files.written({"decoder": {"enter": Change(torch.ones(2, 3), torch.ones(3, 2))}}, {}, {})
    with pytest.raises(EngineError, match=r"it changes 'enter' .*it has no such layer"):
        paint(painter, Adapter("b", decoder, "", 1.0))


def test_styles_are_opened_once_and_the_longest_unused_gives_way(
    tiny_turbo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(krea_styles, "READY", 2)
    wardrobe = KreaWardrobe({"turbo": open_weights.transformer_at(tiny_turbo)}, CPU)

    def changes(seed: int, strength: float = 1.0) -> Any:
        [(name, found, said)] = wardrobe.worn([style(seed, strength)], "turbo", reading=False)
        assert (name, said) == (f"style {seed}", strength)
        return found

    first, second = changes(1), changes(2)
    assert changes(1, 0.3) is first
    changes(3)
    assert changes(1) is first
    assert changes(2) is not second
    assert all(change.down.dtype == torch.float32 for change in first.values())


def test_styles_act_beside_the_lora_that_reads_references(
    tiny_turbo: Path, tiny_raw: Path, tmp_path: Path
) -> None:
    file = tmp_path / "references.safetensors"
    file.write_bytes(style(5, 1.0).data)
    sources = KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo), str(file))
    styled, reference = KreaPainter.load(sources), [Reference(pictured(), 1.0)]
    pictures = [
        paint(styled, *worn, references=shown).image.tobytes()
        for worn in ((), (style(1, 0.6),))
        for shown in ([], reference)
    ]
    assert len(set(pictures)) == 4


def test_a_file_for_krea_is_taken_for_turbo_unless_something_else_is_said(tiny_turbo: Path) -> None:
    settings = Settings(models="krea", krea_turbo=str(tiny_turbo))
    data = style(1, 1.0).data
    assert examined(data, settings, None) == ("k2", "", "")
    assert examined(data, settings, "k2-large").model == "k2-large"
    large = lora_files.written(
        {"transformer": {QUERY: Change(A, B)}}, {}, {"model": "k2-large", "title": "x"}
    )
    assert examined(large, settings, None) == ("k2-large", "x", "")
    wide = FORMS["ai-toolkit"][0]({QUERY: (torch.ones(3, 320), torch.ones(320, 3))})
    with pytest.raises(StyleError, match=r"\(320 × 320\).*'transformer_blocks.1.attn.to_q' is 64 × 64"):
        examined(wide, settings, None)


def test_where_the_weights_are_elsewhere_a_file_is_measured_by_the_published_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("easel.model.hub.at_hand", lambda source, folders: None)
    name, up = "lora_unet_blocks_27_mlp_up", torch.ones(16384, 1)

    def file(width: int) -> bytes:
        return save({f"{name}.lora_down.weight": torch.ones(1, width), f"{name}.lora_up.weight": up})

    assert examined(file(6144), Settings(models="krea"), None).model == "k2"
    with pytest.raises(StyleError, match=r"\(16384 × 320\).*is 16384 × 6144"):
        examined(file(320), Settings(models="krea"), None)


def test_the_command_line_imports_a_lora_for_krea(
    tiny_turbo: Path, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in {
        "MODELS": "krea",
        "KREA_TURBO": str(tiny_turbo),
        "DATABASE_URL": database_url,
        "BLOBS_URL": (tmp_path / "blobs").as_uri(),
    }.items():
        monkeypatch.setenv(f"EASEL_{name}", value)
    file = tmp_path / "ink.safetensors"
    file.write_bytes(style(1, 1.0).data)
    app(["style", "import", str(file)], standalone_mode=False)
    [kept] = (tmp_path / "blobs").iterdir()
    assert kept.name == f"style-{capsys.readouterr().out.strip()}.safetensors"
    assert kept.read_bytes() == file.read_bytes()
