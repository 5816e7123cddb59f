"""python -m pytest tests/test_krea_training_room.py — what makes room for a training, and where is none."""

import gc
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_krea
import torch
from answering import answering, in_new_workspace
from at_work import at_work
from conftest import fresh_database
from diffusers import Krea2Transformer2DModel
from safetensors.torch import load
from test_krea_fits import eight_blocks, stream
from test_krea_training import RECIPE, Book, paint, picture, trained
from test_moodboards import data_uri, ended
from test_styles import TRAIN
from torch import nn

from easel.engine.transformers import Transformers
from easel.errors import EngineError
from easel.model import open_weights
from easel.model.fitting import Fit, away, on_device
from easel.model.streaming import Stream
from easel.model.training_memory import in_training
from easel.settings import KreaSources
from easel.style.krea import KreaPainter
from easel.style.krea_training import Example, KreaLearner

CPU = torch.device("cpu")
PICTURE, LEARNING = 1000.0, 5000.0  # bytes

pytestmark = pytest.mark.usefixtures("small")


# What gives way


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Turbo and Raw of so many blocks that it pays to stream them."""
    found = {}
    for weights in ("turbo", "raw"):
        folder = tmp_path_factory.mktemp("deep") / weights
        network = Krea2Transformer2DModel(**tiny_krea.TRANSFORMER | {"num_layers": 12})
        network.save_pretrained(folder / "transformer")
        found[weights] = open_weights.transformer_at(folder)
    return found


@pytest.fixture
def card(parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Transformers]:
    """Makes transformers on a device of so many bytes, beside which there is no end of memory."""
    streams: weakref.WeakSet[Stream] = weakref.WeakSet()

    class Counted(Stream):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            streams.add(self)

    def made(size: float) -> Transformers:
        transformers = Transformers(parts, CPU, working=PICTURE)  # type: ignore[arg-type]

        def free(device: torch.device) -> float:
            loaded = [
                parts[one].bytes - sum(away(parts[one], len(kept.runs)))
                for one, kept in transformers._loaded.items()
            ]
            return size - sum(loaded) - len(streams) * 2 * max(parts["raw"].block_bytes)

        monkeypatch.setattr("easel.engine.transformers.free_memory", free)
        return transformers

    monkeypatch.setattr(Transformers, "_outside", lambda self, weights: float("inf"))
    monkeypatch.setattr("easel.engine.transformers.Stream", Counted)
    return made


def places_of(network: nn.Module) -> dict[str, int]:
    """Where its weights lie."""
    return {name: weight.data_ptr() for name, weight in network.named_parameters()}


def test_where_there_is_room_nothing_gives_way_to_a_training(parts: Any, card: Any) -> None:
    transformers = card(2 * parts["raw"].bytes + LEARNING + PICTURE)
    turbo, raw = transformers.take("turbo"), transformers.take("raw")
    with transformers.apart("raw", LEARNING) as apart:
        assert (apart.streamed, apart.need) == (0, parts["raw"].bytes + LEARNING)
        assert apart.network is not raw
        assert places_of(apart.network) == places_of(raw)
        assert (transformers.take("turbo"), transformers.take("raw")) == (turbo, raw)
        assert transformers.spare() == 0
    assert (transformers.take("turbo"), transformers.take("raw")) == (turbo, raw)


def test_where_there_is_less_blocks_are_streamed_until_the_training_is_done(parts: Any, card: Any) -> None:
    part = parts["raw"]
    transformers = card(in_training(part, 6) + LEARNING + on_device(part, 12) + PICTURE)
    turbo = transformers.take("turbo")
    with transformers.apart("raw", LEARNING) as apart:
        assert apart.streamed == 6
        assert set(transformers._loaded) == {"raw"}
        assert transformers.take("turbo") is not turbo
        assert len(transformers._loaded["turbo"].runs) == 12
        assert transformers._left == pytest.approx(PICTURE)
        transformers.take("raw")
    assert transformers._loaded == {}
    transformers.take("turbo")
    assert not transformers._loaded["turbo"].runs


def test_raw_is_read_anew_where_it_was_streamed_less(parts: Any, card: Any) -> None:
    transformers = card(in_training(parts["raw"], 11) + LEARNING + PICTURE)
    raw = transformers.take("raw")
    with transformers.apart("raw", LEARNING) as apart:
        assert apart.streamed == 11
        assert transformers.take("raw") is not raw
        with pytest.raises(EngineError, match="too little memory to paint with Turbo: paint when it is done"):
            transformers.take("turbo")


def test_where_pictures_find_no_room_beside_a_training_they_say_so(parts: Any, card: Any) -> None:
    transformers = card(in_training(parts["raw"], 12) + LEARNING + PICTURE / 2)
    with transformers.apart("raw", LEARNING):
        for weights in ("raw", "turbo"):
            with pytest.raises(EngineError, match="A style is being trained, and beside it is too little"):
                transformers.take(weights)
        assert transformers.spare() == 0
    assert transformers.take("raw")


def test_a_training_that_does_not_fit_leaves_all_as_it_was(parts: Any, card: Any) -> None:
    transformers = card(parts["turbo"].bytes + PICTURE)
    turbo = transformers.take("turbo")
    with (
        pytest.raises(EngineError, match=r"A training takes .* GB of memory here"),
        transformers.apart("raw", parts["raw"].bytes),
    ):
        pass
    assert transformers.take("turbo") is turbo


def test_a_training_begins_when_the_picture_that_is_being_painted_is_done(painter: KreaPainter) -> None:
    engine, begun = painter._engine, threading.Event()
    engine._voices.room = 1.0
    engine._voices.at("once", lambda: [])
    thread = threading.Thread(target=trained, args=(painter, Book(then=begun.set)))
    with engine.at_work:
        thread.start()
        assert not begun.wait(0.3)
        assert engine._voices._kept
    thread.join()
    assert begun.is_set()
    assert not engine._voices._kept


# Streamed


@pytest.mark.parametrize("streamed", [1, 3, 8])
@pytest.mark.parametrize("eight", [False, True])
def test_what_is_learnt_beside_streamed_blocks_is_the_very_same(streamed: int, eight: bool) -> None:
    states = []
    for count in (0, streamed):
        network = tiny_krea.kept_in_eight_bits(eight_blocks()) if eight else eight_blocks()
        if count:
            stream(network, count)
        noise = torch.Generator().manual_seed(0)
        shapes = (((12, 16), (words, 64)) for words in (5, 7))
        examples = [
            Example(*(torch.randn(1, *shape, generator=noise) for shape in both), 3, "given")
            for both in shapes
        ]
        learner = KreaLearner(network, examples, RECIPE.model_copy(update={"batch_size": 2}))
        first = learner.judged()
        for _ in range(4):
            learner.step()
        assert learner.judged() < first
        states.append(learner.state())
    assert states[0] == states[1]


@pytest.fixture
def painter(tiny_turbo: Path, tiny_raw: Path) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))


def test_a_painter_whose_blocks_are_streamed_learns_the_same(
    painter: KreaPainter, tiny_turbo: Path, tiny_raw: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("easel.style.krea.fitted", lambda plan, *room: Fit(plan, False, 3))
    streamed = KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))
    before, during = paint(streamed, route="large").image.tobytes(), []
    book = Book(then=lambda: during.append(paint(streamed, route="large").image.tobytes()))
    style, wanted = trained(streamed, book), trained(painter)
    halves = load(wanted.adapter)
    assert all(torch.equal(half, halves[name]) for name, half in load(style.adapter).items())
    assert during == [before] * 6
    told = [one.details.pop("fit") for one in (wanted, style)]
    assert [fit.pop("streamed_blocks") for fit in told] == ["0 of 3", "3 of 3"]
    assert [fit["precision"] for fit in told] == ["float32"] * 2
    assert style.details == wanted.details


# Out of memory all the same


@pytest.fixture
def running_out(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whoever learns finds no memory in the third step; the learners that were at it."""
    learners: list[Any] = []
    step = KreaLearner.step

    def stepping(self: KreaLearner) -> None:
        learners.append(weakref.ref(next(iter(self._beside.values()))))
        if self.steps == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 144.00 MiB.")
        step(self)

    monkeypatch.setattr(KreaLearner, "step", stepping)
    return learners


def test_a_training_that_runs_out_of_memory_says_so_and_gives_its_memory_back(
    painter: KreaPainter, running_out: list[Any]
) -> None:
    before = paint(painter).image.tobytes()
    gc.disable()
    try:
        with pytest.raises(
            EngineError, match=r"though \d+\.\d GB were left to it beside Krea-2-Raw: paint l"
        ):
            trained(painter)
        assert [learner() for learner in running_out] == [None] * 3
    finally:
        gc.enable()
    assert painter._transformers._left is None
    assert paint(painter).image.tobytes() == before


@pytest.mark.usefixtures("running_out")
def test_the_worker_lives_on_when_a_training_runs_out_of_memory(
    painter: KreaPainter, postgres: str, tmp_path: Path
) -> None:
    urls = [data_uri(picture(colour)) for colour in ("red", "green", "blue")]
    with (
        answering(fresh_database(postgres), tmp_path, models="krea") as server,
        at_work(server, painter),
        in_new_workspace(server) as api,
    ):
        training = api.client.post(TRAIN, json={"name": "flat", "urls": urls, "max_train_steps": 9}).json()
        job = ended(api, training["job_id"])
        assert (job["status"], job["error"]["code"]) == ("failed", "engine_error")
        assert "The training ran out of memory" in job["error"]["message"]
        assert api.client.get("/styles").json()["items"] == []
        assert ended(api, api.submit(seed=3)["job_id"])["status"] == "completed"
