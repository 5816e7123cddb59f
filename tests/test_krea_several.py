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
from easel.engine.several import SENT
from easel.engine.transformers import Transformers
from easel.engine.voices import size
from easel.errors import Cancelled, CheckpointError, EngineLost
from easel.model import fitting, shared
from easel.model.lora import Change, Style
from easel.model.peers import Peers
from easel.schema.painting import Step
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


QUERY = "transformer_blocks.1.attn.to_q"


def change(seed: int = 0, rank: int = 2) -> Change:
    generator = torch.Generator().manual_seed(seed)
    return Change(torch.randn(rank, 64, generator=generator), torch.randn(64, rank, generator=generator))


INK = Style("ink", {QUERY: change()}, 1.0)
JOBS = {
    "plain": {},
    "guided": {"weights": "raw", "guidance": 3.5, "negative": "a blurred photograph"},
    "something avoided": {"negative": "a blurred photograph"},
    "references": {"looks": list(zip(PICTURES, (0.4, 0.3, -0.2), strict=True))},
    "references and something avoided": {"looks": [(PICTURES[0], -0.4)], "negative": "a photograph"},
    "in context": {"context": [(PICTURES[0], 0.5), (PICTURES[1], -1.0)]},
    "in a style": {"styles": [INK]},
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


# What is heard is counted in this process; the other one must hear it too, or neither comes to an end.
IN_A_STYLE = {"looks": list(zip(PICTURES, (0.4, 0.3, -0.2), strict=True)), "styles": [INK], "steps": 8}


def test_both_processes_keep_what_references_said_for_the_next_picture(alone, together, heard):
    together._voices.clear()
    first = together.unfinished(asked(**IN_A_STYLE))
    assert len(heard) == 3
    assert torch.equal(together.unfinished(asked(**IN_A_STYLE)), first)
    assert len(heard) == 3
    one, two = (engine.unfinished(asked(**IN_A_STYLE | {"seed": 4})) for engine in (alone, together))
    assert (one - two).abs().max() < 1e-4 * one.abs().max()


def test_a_picture_that_is_cancelled_leaves_both_with_the_same(together, heard):
    def stop(step: Step) -> None:
        if step.index == 3:
            raise Cancelled("enough")

    together._voices.clear()
    with pytest.raises(Cancelled):
        together.paint(asked(**IN_A_STYLE), stop)
    assert len(heard) == 1
    again = together.unfinished(asked(**IN_A_STYLE))
    assert len(heard) == 3
    together._voices.clear()
    assert torch.equal(together.unfinished(asked(**IN_A_STYLE)), again)


@pytest.mark.parametrize("turns", [0, 2])
def test_both_keep_as_much_as_the_one_with_the_least_room_has(together, heard, monkeypatch, turns):
    together.unfinished(asked(**IN_A_STYLE))
    one = size(next(iter(together._voices._kept.values())))
    monkeypatch.setattr(Transformers, "spare", lambda self: turns * one)  # of the leader's alone
    together._voices.clear()
    heard.clear()
    first = together.unfinished(asked(**IN_A_STYLE))
    assert together._voices.room == turns * one
    assert torch.equal(together.unfinished(asked(**IN_A_STYLE)), first)
    assert len(heard) == 6  # the last of three turns is not heard before the first is asked for
    together._voices.clear()


def test_a_style_is_sent_once_and_again_when_others_took_its_place(alone, together, monkeypatch):
    sent: list[int] = []
    send = together._several._send
    monkeypatch.setattr(together._several, "_send", lambda data: sent.append(len(data)) or send(data))
    worn = [Style(f"style {i}", {QUERY: change(seed=i, rank=64)}, 0.1 * i) for i in range(1, SENT + 2)]

    def bytes_sent(*styles: Style) -> int:
        sent.clear()
        job = asked(styles=styles)
        one, two = (engine.unfinished(job) for engine in (alone, together))
        assert (one - two).abs().max() < 1e-4 * one.abs().max()
        return max(sent)

    first, *others = worn
    once, again = bytes_sent(first), bytes_sent(first)
    assert once - again > 2 * 64 * 64 * 4
    assert bytes_sent(first._replace(strength=-0.5), others[0]) == pytest.approx(once, rel=0.1)
    bytes_sent(*others)
    assert bytes_sent(first) == pytest.approx(once, rel=0.1)


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


def test_a_picture_without_memory_says_so_and_the_others_are_let_go(together, monkeypatch):
    def fail(*given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 144.00 MiB.")

    monkeypatch.setattr(shared, "listen", fail)
    together._voices.clear()
    with pytest.raises(torch.OutOfMemoryError):
        together.unfinished(asked(**IN_A_STYLE))
    with pytest.raises(EngineLost, match="a process of another GPU is gone"):
        together.unfinished(asked())
