"""python -m pytest tests/test_krea_instruments.py — instruments on tiny weights of Krea's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_krea_styles import style
from torch import Tensor

from easel.catalog import MODELS
from easel.engine import order
from easel.model.prompts import PromptEncoder, direction
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Materials, Painting
from easel.settings import KreaSources
from easel.style.krea import KreaPainter
from easel.style.krea_instruments import PHRASES

INSTRUMENTS = ("intensity", "complexity", "movement")


pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def painter(tiny_turbo: Path, tiny_raw: Path) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The features of each prompt that is painted from here on."""
    heard: list[Tensor] = []
    sample = order.sample

    def listened(
        transformer: Any, noise: Tensor, times: Tensor, text: Tensor, *rest: Any, **more: Any
    ) -> Tensor:
        heard.append(text)
        return sample(transformer, noise, times, text, *rest, **more)

    monkeypatch.setattr(order, "sample", listened)
    return heard


def paint(
    painter: KreaPainter, route: str = "medium", adapters: tuple[Adapter, ...] = (), **set_to: int
) -> Painting:
    request = GenerationRequest(prompt="a fox", **set_to)
    return painter.paint(request, Materials(adapters=adapters), MODELS[route], 7, lambda step: None)


def test_each_instrument_has_phrases_of_its_own() -> None:
    assert tuple(PHRASES) == INSTRUMENTS
    phrases = [phrase for pairs in PHRASES.values() for pair in pairs for phrase in pair]
    assert len(set(phrases)) == len(phrases) == 24


def test_0_is_the_very_picture(painter: KreaPainter, texts: list[Tensor]) -> None:
    plain = paint(painter)
    moved = paint(painter, intensity=100, complexity=-50, movement=1)
    again = paint(painter, intensity=0, complexity=0, movement=0)
    assert plain.image.tobytes() == again.image.tobytes() != moved.image.tobytes()
    assert torch.equal(texts[0], texts[2])
    assert (plain.details["instruments"], moved.details["instruments"]) == (
        {},
        {"intensity": 100, "complexity": -50, "movement": 1},
    )


@pytest.mark.parametrize("route", ["medium", "large"])
@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_features_move_along_one_way_in_proportion(
    painter: KreaPainter, texts: list[Tensor], route: str, instrument: str
) -> None:
    settings = (-100, -37, 0, 1, 50, 100)
    pictures = {paint(painter, route, **{instrument: setting}).image.tobytes() for setting in settings}
    assert len(pictures) >= len(settings) - 1  # a hundredth may be no byte
    plain, whole = texts[2], texts[5] - texts[2]
    for setting, text in zip(settings, texts, strict=True):
        assert torch.allclose(text - plain, setting / 100 * whole, atol=1e-5)
    along = [((text - plain) * whole).sum().item() for text in texts]
    assert along == sorted(along)
    assert len(set(along)) == len(along)


def test_instruments_add_up_and_go_different_ways(painter: KreaPainter, texts: list[Tensor]) -> None:
    for set_to in ({}, {"intensity": 60}, {"movement": -80}, {"intensity": 60, "movement": -80}):
        paint(painter, **set_to)
    plain, intense, still, both = texts
    assert torch.allclose(both - plain, (intense - plain) + (still - plain), atol=1e-5)
    cosine = torch.cosine_similarity((intense - plain).flatten(), (still - plain).flatten(), 0)
    assert cosine.abs() < 0.99


def test_the_way_is_from_the_lower_phrases_mean_to_the_upper_ones() -> None:
    said = {"a": 1.0, "b": 4.0, "c": 2.0, "d": -3.0}
    found = direction(
        lambda phrase: torch.tensor([[[said[phrase]], [said[phrase] + 2]]]), (("b", "a"), ("c", "d"))
    )
    assert found.tolist() == [[[(3.0 + 5.0) / 2]]]


def test_phrases_are_heard_once_for_each_of_the_weights(
    tiny_turbo: Path, tiny_raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    painter = KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))
    heard: list[str] = []
    tapped = PromptEncoder.tapped
    monkeypatch.setattr(
        PromptEncoder, "tapped", lambda self, *given: heard.append(given[0]) or tapped(self, *given)
    )
    counts = []
    for route in ("medium", "medium", "medium-turbo", "large", "large"):
        heard.clear()
        paint(painter, route, movement=30)
        counts.append(len([phrase for phrase in heard if phrase not in ("a fox", "")]))
    assert counts == [8, 0, 0, 8, 0]


def test_the_way_is_the_same_in_a_style(tiny_turbo: Path, painter: KreaPainter, texts: list[Tensor]) -> None:
    """Be it first asked for with the style or without."""
    fresh = KreaPainter.load(KreaSources(str(tiny_turbo), None, str(tiny_turbo)))
    for one, adapters in ((fresh, (style(1, 1.0),)), (painter, ())):
        paint(one, adapters=adapters)
        paint(one, adapters=adapters, intensity=100)
    assert torch.allclose(texts[1] - texts[0], texts[3] - texts[2], atol=1e-5)
