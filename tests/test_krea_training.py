"""python -m pytest tests/test_krea_training.py — LoRAs learnt on a tiny Krea-2-Raw, and used on Turbo."""

import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny_krea
import torch
from answering import answering, in_new_workspace
from conftest import fresh_database
from PIL import Image
from safetensors.torch import load
from sqlalchemy import select
from test_moodboards import at_work, data_uri, ended
from test_styles import TRAIN, details
from tiny_krea import rotary
from torch import nn

from easel.catalog import MODELS
from easel.errors import Cancelled, EngineError
from easel.model import flow, lora, lora_files, open_weights
from easel.model.lora import Changes, Style
from easel.model.prompts import PromptEncoder
from easel.model.transformer import fuse_text, predict
from easel.model.worn import worn
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Adapter, Lesson, Materials, Trained
from easel.schema.styles import Recipe
from easel.settings import KreaSources
from easel.store import tables
from easel.store.database import Database
from easel.style import krea_training
from easel.style.krea import KreaPainter
from easel.style.krea_training import Example, KreaLearner, School, optimiser_of, read

CPU = torch.device("cpu")
RECIPE = Recipe(name="stripes", max_train_steps=6, batch_size=1, learning_rate=0.01, trigger_word="zigzag")


pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def painter(tiny_turbo: Path, tiny_raw: Path) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))


class Book:
    """Remembers what a training tells it, and breaks it off after some steps."""

    def __init__(
        self, state: bytes | None = None, most: int = 1000, then: Callable[[], None] = lambda: None
    ) -> None:
        self.state, self._most, self._then = state, most, then
        self.told: list[int] = []

    def step(self, number: int) -> None:
        self.told.append(number)
        self._then()
        if len(self.told) >= self._most:
            raise Cancelled

    def keep(self, state: bytes) -> None:
        self.state = state


def lessons(*captions: str) -> Iterator[Lesson]:
    """Pictures of several shapes, each in one colour."""
    sizes = ((96, 64), (64, 64), (48, 80))
    for size, colour, caption in zip(sizes, ("red", "green", "blue"), captions or [""] * 3, strict=True):
        yield Lesson(Image.new("RGB", size, colour), caption)


def trained(painter: KreaPainter, book: Book | None = None, **changed: Any) -> Trained:
    return painter.train(lessons(), RECIPE.model_copy(update=changed), book or Book())


def learnt(style: Trained) -> Changes:
    return lora_files.read(style.adapter).changes["transformer"]


def paint(painter: KreaPainter, *adapters: Adapter, route: str = "medium") -> Any:
    request, materials = GenerationRequest(prompt="a fox"), Materials(adapters=adapters)
    return painter.paint(request, materials, MODELS[route], 7, lambda step: None)


def test_a_style_is_learnt_on_raw_and_moves_the_picture_of_turbo(painter: KreaPainter) -> None:
    before = paint(painter).image.tobytes()
    style = trained(painter, max_train_steps=40)
    losses = style.details["losses"]
    assert losses["last"] < 0.7 * losses["first"]
    assert (style.details["weights"], style.details["rank"]) == ("raw", 32)
    assert style.details["optimiser"] == "AdamW"
    pictures = [paint(painter, Adapter(f"{s}", style.adapter, "zigzag", s)) for s in (0.5, 1, -1)]
    assert len({picture.image.tobytes() for picture in pictures} | {before}) == 4
    assert pictures[1].prompt == "a fox, zigzag"
    assert paint(painter).image.tobytes() == before


def test_the_file_is_in_diffusers_form_and_diffusers_makes_the_same_of_it(
    painter: KreaPainter, tiny_turbo: Path
) -> None:
    style = trained(painter, model="k2-large")
    network, theirs = (open_weights.transformer_at(tiny_turbo).load(CPU) for _ in range(2))
    blocks = [n for n in lora.shapes(network) if n.startswith("transformer_blocks.")]
    halves = [f"transformer.{n}.lora_{half}.weight" for n in blocks for half in "AB"]
    assert sorted(load(style.adapter)) == sorted(halves)
    file = lora_files.read(style.adapter)
    assert file.metadata == {
        "architecture": "Krea2Transformer2DModel",
        "base": painter.checkpoint,
        "model": "k2-large",
        "title": "stripes",
        "trigger_word": "zigzag",
    }
    theirs.load_lora_adapter(load(style.adapter), adapter_name="style", prefix="transformer")
    x, tapped, t = torch.randn(1, 6, 16), torch.randn(1, 5, 3, 32), torch.tensor([0.4])
    with torch.no_grad(), worn(network, [Style("stripes", learnt(style), 1.0)]):
        turned = rotary(network, 2, 3)
        one, other = (predict(net, x, t, fuse_text(net, tapped), turned) for net in (network, theirs))
        assert (one - other).abs().max() < 1e-5


@pytest.mark.parametrize("kept_until", [2, 4])
def test_a_training_that_was_killed_comes_to_the_same_weights(
    painter: KreaPainter, monkeypatch: pytest.MonkeyPatch, kept_until: int
) -> None:
    """Be its last steps kept, or lost and taken again."""
    whole = trained(painter)
    monkeypatch.setattr(krea_training, "KEPT_EVERY", 0)
    first = Book(most=4)
    if kept_until < 4:
        states: list[bytes] = []
        first.keep = states.append  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        trained(painter, first)
    second = Book(first.state or states[kept_until - 1])
    again = trained(painter, second)
    assert (first.told, second.told) == ([1, 2, 3, 4], list(range(kept_until + 1, 7)))
    halves = load(whole.adapter)
    assert all(torch.equal(half, halves[name]) for name, half in load(again.adapter).items())
    assert again.details == whole.details


def test_what_paints_is_untouched_while_a_style_is_learnt(painter: KreaPainter) -> None:
    before, during = paint(painter, route="large").image.tobytes(), []
    trained(painter, Book(then=lambda: during.append(paint(painter, route="large").image.tobytes())))
    assert during == [before] * 6


def test_a_training_ends_where_it_is_cancelled_and_lets_raw_go(painter: KreaPainter) -> None:
    book = Book(most=1)
    with pytest.raises(Cancelled):
        trained(painter, book)
    assert book.told == [1]
    assert painter._transformers._left is None


def test_without_raw_a_training_says_what_to_set(tiny_turbo: Path) -> None:
    painter = KreaPainter.load(KreaSources(str(tiny_turbo), None, str(tiny_turbo)))
    with pytest.raises(EngineError, match="trained on Krea-2-Raw: set EASEL_KREA_RAW to where it is"):
        trained(painter)


@pytest.fixture
def school(painter: KreaPainter) -> Iterator[School]:
    with painter._engine.apart("raw", 0) as apart:
        yield School(apart.network, painter._text, painter._engine.pixels, "tiny")


def test_pictures_and_captions_are_read_once_before_the_steps(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    tapped = PromptEncoder.tapped
    monkeypatch.setattr(
        PromptEncoder, "tapped", lambda self, prompt: heard.append(prompt) or tapped(self, prompt)
    )
    seen: list[tuple[int, int]] = []

    def describe(picture: Image.Image) -> str:
        seen.append(picture.size)
        return "a flat thing"

    captioned = replace(school, describe=describe)
    book = Book(then=lambda: heard.append("step"))
    style = krea_training.train(captioned, lessons("a fox", "", ""), RECIPE, book)
    assert style.details["captions"] == {"given": 1, "written": 2}
    told = ["a fox, zigzag", "a flat thing, zigzag", "a flat thing, zigzag"]
    assert heard == [*told, *["step"] * 6]
    assert seen == [(64, 64), (48, 80)]
    heard.clear()
    read(school, lessons("a fox", "", ""), RECIPE.model_copy(update={"trigger_word": ""}))
    assert heard == ["a fox", "", ""]


def test_pictures_are_learnt_from_at_a_megapixel_at_most(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(krea_training, "SIDE", 64)
    pictures = [Lesson(Image.new("RGB", size), "") for size in ((300, 100), (4000, 20))]
    example, strip = read(school, pictures, RECIPE)
    assert (example.clean.shape, example.rows) == ((1, 2 * 7, 16), 2)
    assert (strip.clean.shape, strip.rows) == ((1, 2 * 8, 16), 2)


def test_each_picture_comes_once_before_any_comes_again(school: School) -> None:
    examples = read(school, lessons(), RECIPE)
    learner = KreaLearner(school.transformer, examples, RECIPE)
    order = [[e is learner._example(place) for e in examples].index(True) for place in range(30)]
    assert all(sorted(order[i : i + 3]) == [0, 1, 2] for i in range(0, 30, 3))
    assert len({tuple(order[i : i + 3]) for i in range(0, 30, 3)}) > 1


def test_blocks_that_are_run_again_give_the_same_gradients(school: School) -> None:
    examples = read(school, lessons(), RECIPE)
    learner = KreaLearner(school.transformer, examples, RECIPE)
    for up in (p for name, p in learner._beside.items() if name.endswith(lora.UP)):
        nn.init.normal_(up, std=0.1, generator=torch.Generator().manual_seed(1))

    def gradients() -> list[torch.Tensor]:
        learner.optimiser.zero_grad()
        learner._loss(examples[0], torch.Generator().manual_seed(3)).backward()
        return [p.grad.clone() for p in learner._beside.values()]

    again, kept = gradients(), None
    school.transformer.disable_gradient_checkpointing()
    kept = gradients()
    assert all(one.any() for one in again)
    assert all(torch.allclose(one, other, atol=1e-7) for one, other in zip(again, kept, strict=True))
    assert not any(weight.requires_grad for weight in school.transformer.parameters())


def test_times_to_learn_at_are_those_of_the_sampler_in_the_middle() -> None:
    for mu in (0.5, 1.15):
        t = flow.drawn(20000, mu, torch.Generator().manual_seed(0))
        unshifted = t / (t + torch.tensor(mu).exp() * (1 - t))
        logits = torch.logit(unshifted)
        assert t.median() == pytest.approx(flow.shifted(torch.tensor(0.5), mu).item(), abs=0.01)
        assert (logits.mean().item(), logits.std().item()) == pytest.approx((0, 1), abs=0.02)


def test_a_style_is_learnt_on_raw_in_eight_bits(tiny_turbo: Path, tiny_raw: Path, tmp_path: Path) -> None:
    file = tiny_krea.save_single_file(tiny_raw, tmp_path / "raw.safetensors", eight_bits=True)
    painter = KreaPainter.load(KreaSources(str(tiny_turbo), str(file), str(tiny_turbo)))
    style = trained(painter, max_train_steps=20)
    assert style.details["losses"]["last"] < 0.9 * style.details["losses"]["first"]
    assert {weight.dtype for weight in load(style.adapter).values()} == {torch.bfloat16}


def test_a_training_that_comes_apart_says_what_to_ask_for(school: School) -> None:
    [example, *_] = read(school, lessons(), RECIPE)
    wild = Example(example.clean * float("inf"), example.text, example.rows, "given")
    with pytest.raises(EngineError, match=r"came apart at step 1: ask for a learning_rate below 0\.01"):
        KreaLearner(school.transformer, [wild], RECIPE).step()


def test_the_optimiser_is_that_of_eight_bits_where_it_is_installed_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = SimpleNamespace(AdamW8bit=lambda parameters, weight_decay: ("eight", parameters))
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(optim=made, __spec__=object()))
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", made)
    here: Any = [nn.Parameter(torch.zeros(2))]
    there: Any = [SimpleNamespace(device=torch.device("cuda"))]
    assert isinstance(optimiser_of(here)[0], torch.optim.AdamW)
    assert optimiser_of(there) == (("eight", there), "AdamW in eight bits")


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_style_is_trained_through_the_api_and_painted_in(
    painter: KreaPainter, postgres: str, tmp_path: Path
) -> None:
    urls = [data_uri(picture(colour)) for colour in ("red", "green", "blue")]
    with (
        answering(fresh_database(postgres), tmp_path, models="krea") as server,
        at_work(server, painter),
        in_new_workspace(server) as api,
    ):
        asked = {"name": "flat", "urls": urls, "max_train_steps": 30, "trigger_word": "flat"}
        training = api.client.post(TRAIN, json=asked).json()["job_id"]
        beside = [api.submit(seed=3) for _ in range(3)]  # painted in another thread
        assert {ended(api, picture["job_id"])["status"] for picture in beside} == {"completed"}
        job = ended(api, training)
        assert job["status"] == "completed", job
        told = api.client.get(f"/jobs/{training}/details").json()
        assert (told["engine"], told["details"]["pictures"], told["details"]["steps"]) == ("krea", 3, 30)
        painted = details(api, styles=[{"id": job["result"]["style_id"], "strength": 0.7}])
        assert painted["details"]["styles"] == {job["result"]["style_id"]: 0.7}
        assert painted["expanded_prompt"] == "a fox, flat"


def test_what_a_training_does_not_say_is_as_suits_krea(postgres: str, tmp_path: Path) -> None:
    urls = [data_uri(picture(colour)) for colour in ("red", "green", "blue")]
    with (
        answering(fresh_database(postgres), tmp_path, models="krea") as server,
        in_new_workspace(server) as api,
    ):
        for said in ({}, {"batch_size": 4}):
            api.client.post(TRAIN, json={"name": "flat", "urls": urls, **said})

        async def asked(database: Database) -> list[dict[str, Any]]:
            async with database.read() as connection:
                rows = await connection.execute(select(tables.Job.request).order_by(tables.Job.created_at))
                return list(rows.scalars())

        fields = ("max_train_steps", "batch_size", "learning_rate")
        found = [tuple(request["training"][field] for field in fields) for request in api.store(asked)]
    assert found == [(1000, 1, 3e-4), (1000, 4, 3e-4)]
