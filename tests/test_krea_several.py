"""python -m pytest tests/test_krea_several.py — one picture by two processes, as by one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from PIL import Image
from pydantic import ValidationError

from easel.engine.krea import Conditioning, KreaEngine
from easel.errors import Cancelled, CheckpointError, EngineError
from easel.model import fitting
from easel.model.lora import Change
from easel.model.peers import Peers
from easel.settings import KreaSources, Settings
from easel.style.krea import KreaPainter

NOISE = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), dtype=np.uint8)
PICTURES = [Image.fromarray(picture) for picture in NOISE]


@pytest.fixture(scope="module")
def sources(tiny_turbo: Path, tiny_raw: Path) -> KreaSources:
    return KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo))


@pytest.fixture(scope="module")
def alone(sources: KreaSources) -> KreaEngine:
    return KreaPainter.load(sources, "cpu")._engine


@pytest.fixture(scope="module")
def together(sources: KreaSources) -> Iterator[KreaEngine]:
    yield KreaPainter.load(sources, "cpu,cpu")._engine
    dist.destroy_process_group()


def asked(**given: object) -> Conditioning:
    return Conditioning(
        **{
            "prompt": "a fox",
            "negative": "",
            "width": 112,
            "height": 80,
            "seed": 3,
            "weights": "turbo",
            "steps": 2,
            "guidance": 0.0,
            **given,
        }
    )


def change() -> Change:
    generator = torch.Generator().manual_seed(0)
    return Change(torch.randn(2, 64, generator=generator), torch.randn(64, 2, generator=generator))


JOBS = {
    "plain": {},
    "guided": {"weights": "raw", "guidance": 3.5, "negative": "a blurred photograph"},
    "something avoided": {"negative": "a blurred photograph"},
    "references": {"looks": list(zip(PICTURES, (0.4, 0.3, -0.2), strict=True))},
    "references and something avoided": {"looks": [(PICTURES[0], -0.4)], "negative": "a photograph"},
    "in context": {"context": [(PICTURES[0], 0.5), (PICTURES[1], -1.0)]},
    "in a style": {"styles": [({"transformer_blocks.1.attn.to_q": change()}, 1.0)]},
    "from a picture": {"start": PICTURES[0].resize((112, 80)), "strength": 0.6},
}


@pytest.mark.parametrize("job", JOBS)
def test_two_processes_paint_what_one_paints(alone, together, job):
    one, two = (engine.unfinished(asked(**JOBS[job])) for engine in (alone, together))
    assert (one - two).abs().max() < 1e-4 * one.abs().max()
    assert together._transformers.backend.peers.size == 2


def test_a_picture_that_is_cancelled_ends_for_all_and_the_next_is_painted(alone, together):
    def stop(step: object) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        together.paint(asked(steps=4), stop)
    steps: list[int] = []
    picture = together.paint(asked(seed=5), lambda step: steps.append(step.index))
    assert steps == [1, 2]
    other = np.asarray(alone.paint(asked(seed=5), lambda step: None), dtype=int)
    assert abs(np.asarray(picture, dtype=int) - other).max() <= 1


def test_tokens_are_divided_as_evenly_as_can_be():
    x = torch.arange(22).view(1, 11, 2)
    parts = [Peers(rank, 3).own(x, 1) for rank in range(3)]
    assert [part.shape[1] for part in parts] == Peers(0, 3).lengths(11) == [4, 4, 3]
    assert torch.equal(torch.cat(parts, 1), x)


def test_heads_that_cannot_be_divided_are_refused(sources):
    with pytest.raises(
        CheckpointError, match="EASEL_DEVICE names 3 GPUs, and 2 heads are divided among 1, 2"
    ):
        KreaPainter.load(sources, "cpu,cpu,cpu")


def test_each_gpu_must_hold_a_transformer_whole(sources, monkeypatch):
    monkeypatch.setattr("easel.style.krea.fitted", lambda plan, *room: fitting.Fit(plan, False, 3))
    with pytest.raises(CheckpointError, match="names 2 GPUs, and each of them must hold a transformer whole"):
        KreaPainter.load(sources, "cpu,cpu")


def test_devices_are_named_with_commas_between():
    assert Settings(device="cuda:0,cuda:1").device == "cuda:0,cuda:1"
    for wrong in ("cuda:0,", ",cpu", "cuda:0;cuda:1", "gpu"):
        with pytest.raises(ValidationError):
            Settings(device=wrong)


def test_a_process_that_is_gone_is_told_of(together):
    for other in together._several._others:
        other.close()
    with pytest.raises(EngineError, match="a process of another GPU is gone: start the worker again"):
        together.unfinished(asked())
