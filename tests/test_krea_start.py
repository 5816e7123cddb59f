"""python -m pytest tests/test_krea_start.py — pictures to start from, with tiny weights of Krea's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Krea2Pipeline
from PIL import Image, ImageOps
from test_krea import engine, tokens, wanted
from tiny_krea import pictured

from easel.catalog import MODELS
from easel.engine.krea import Conditioning, KreaEngine, times_of
from easel.errors import Cancelled
from easel.model import flow, latents
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Mood, Painting, Reference, Step
from easel.settings import KreaSources
from easel.style.krea import KreaPainter

SIZE = (96, 64)
TURBO_AT = {0.0: 0.0, 0.25: 0.5128, 0.5: 0.7595, 0.9: 0.9660, 1.0: 1.0}  # the time of a strength, mu = 1.15


@pytest.fixture(scope="module")
def tiny(tiny_turbo: Path, tiny_raw: Path) -> KreaEngine:
    return engine(tiny_turbo, turbo=tiny_turbo, raw=tiny_raw)


@pytest.fixture(scope="module")
def painter(tiny_turbo: Path, tiny_raw: Path) -> KreaPainter:
    return KreaPainter.load(KreaSources(str(tiny_turbo), str(tiny_raw), str(tiny_turbo)))


def from_picture(strength: float, weights: str = "turbo", **given: Any) -> Conditioning:
    return replace(wanted(weights=weights, **given), start=pictured(size=SIZE), strength=strength)


@pytest.mark.parametrize(("strength", "time"), TURBO_AT.items())
def test_the_schedule_is_cut_at_the_exact_time_of_the_strength(strength: float, time: float) -> None:
    assert times_of(from_picture(strength, steps=8))[0] == pytest.approx(time, abs=1e-4)


@pytest.mark.parametrize(
    ("strength", "steps"),
    [(0, 0), (0.01, 1), (0.125, 1), (0.126, 2), (0.5, 4), (0.6, 5), (0.9, 8), (0.99, 8), (1, 8)],
)
def test_as_many_steps_run_as_are_left(strength: float, steps: int) -> None:
    times = times_of(from_picture(strength, steps=8))
    assert len(times) - 1 == steps
    assert all(times[:-1] > times[1:])


@pytest.mark.parametrize(
    ("weights", "strength", "left"),
    [("turbo", 0.6, (0.6, 0.5, 0.25)), ("raw", 0.6, (0.6, 0.5, 0.25)), ("raw", 0.25, (0.25,))],
)
def test_diffusers_pipeline_comes_to_the_same_from_the_same_noised_latents(
    tiny_turbo: Path, tiny_raw: Path, weights: str, strength: float, left: tuple[float, ...]
) -> None:
    """It has no image to image, but takes latents and what is left of the schedule, unshifted."""
    guidance = 3.5 if weights == "raw" else 0.0
    asked = from_picture(strength, weights, guidance=guidance, steps=4)
    place = tiny_raw if weights == "raw" else tiny_turbo
    pipeline = Krea2Pipeline.from_pretrained(place)
    pipeline.set_progress_bar_config(disable=True)
    x = 2 * latents.to_tensor(asked.start)[:, :, None] - 1
    mean, std = (torch.tensor(pipeline.vae.config[f"latents_{name}"]) for name in ("mean", "std"))
    z = (pipeline.vae.encode(x).latent_dist.mode()[:, :, 0] - mean[:, None, None]) / std[:, None, None]
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(asked.seed))
    mu = flow.DISTILLED_SHIFT if weights == "turbo" else flow.shift_of(24)
    t = flow.shifted(torch.tensor(strength), mu)
    found = pipeline(
        asked.prompt,
        width=SIZE[0],
        height=SIZE[1],
        sigmas=list(left),
        num_inference_steps=len(left),
        latents=tokens((1 - t) * z + t * noise),
        guidance_scale=guidance,
        output_type="latent",
    ).images
    ours = engine(place, **{weights: place}).unfinished(asked)
    assert (tokens(ours) - found).abs().max() < 1e-4


def test_every_strength_is_another_and_the_nearer_the_more_alike(tiny: KreaEngine) -> None:
    """Where steps come in as well as between: 1/2 is one of four steps' own times."""

    def z(strength: float) -> torch.Tensor:
        return tiny.unfinished(from_picture(strength, steps=4))

    for strength in (0.5, 0.7):
        here, near, far = z(strength), z(strength + 1e-4), z(strength + 0.05)
        assert 0 < (near - here).norm() < 0.02 * (far - here).norm()
    start = z(0)
    away = [(z(strength) - start).norm().item() for strength in (0.1, 0.3, 0.6, 0.9, 0.95, 1)]
    assert away == sorted(away)
    assert len(set(away)) == len(away)


def paint(
    painter: KreaPainter,
    route: str = "medium",
    start: Image.Image | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    references: tuple[Reference, ...] = (),
    mood: Mood | None = None,
    **request: Any,
) -> Painting:
    asked = GenerationRequest(**{"prompt": "a fox", "aspect_ratio": "3:2", **request})
    materials = Materials(references=references, mood=mood or Mood(), start=start)
    return painter.paint(asked, materials, MODELS[route], 7, on_step)


@pytest.mark.usefixtures("small")
def test_strength_0_gives_the_picture_back_and_1_is_without_it(painter: KreaPainter) -> None:
    start, steps = pictured(size=(300, 100)), []
    back = paint(painter, start=start, strength=0, on_step=steps.append)
    assert back.image.tobytes() == ImageOps.fit(start, SIZE, Image.Resampling.LANCZOS).tobytes()
    assert (steps, back.details["steps"]) == ([], 0)
    whole, plain = paint(painter, start=start, strength=1), paint(painter)
    assert whole.image.tobytes() == plain.image.tobytes()
    assert whole.details["start"] is plain.details["start"] is None


@pytest.mark.usefixtures("small")
def test_the_details_and_the_steps_tell_how_far_it_was_painted_anew(painter: KreaPainter) -> None:
    steps: list[tuple[int, int, tuple[int, int] | None]] = []

    def told(step: Step) -> None:
        preview = step.preview()
        steps.append((step.index, step.total, preview and preview.size))

    painting = paint(painter, start=pictured(), strength=0.45, on_step=told)
    assert steps == [(1, 1, SIZE)]
    assert painting.details["steps"] == 1
    assert painting.details["start"] == {"strength": 0.45, "time": pytest.approx(0.7210, abs=1e-4)}


@pytest.mark.usefixtures("small")
def test_references_guidance_and_what_is_avoided_act_with_a_start_picture(painter: KreaPainter) -> None:
    reference = (Reference(pictured(5), 1.0),)
    for route, more in (
        ("medium", {"references": reference}),
        ("large", {"references": reference}),
        ("large", {"mood": Mood(avoids=["photograph"])}),
    ):
        plain, moved = (paint(painter, route, pictured(), strength=0.5, **given) for given in ({}, more))
        assert plain.image.tobytes() != moved.image.tobytes()


@pytest.mark.usefixtures("small")
def test_what_a_step_raises_ends_the_painting_of_a_start_picture(painter: KreaPainter) -> None:
    def stop(step: Step) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled, match="enough"):
        paint(painter, start=pictured(), strength=0.5, on_step=stop)
