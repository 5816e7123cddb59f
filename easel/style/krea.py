"""The painter of Krea's open weights, from a request to a picture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from traceback import clear_frames
from typing import Any

import structlog
import torch
from PIL import Image, ImageOps

from easel.catalog import RECIPES, Model
from easel.engine.faults import computing_on, watched
from easel.engine.krea import (
    Conditioning,
    KreaEngine,
    best_device,
    peak_gb,
    times_of,
)
from easel.engine.several import Several
from easel.engine.transformers import Transformers, free_memory, memory_outside
from easel.engine.warm import fastest, warm
from easel.errors import CheckpointError, EngineError
from easel.licence import NOTICE
from easel.model import krea2, open_weights
from easel.model.files import fingerprint
from easel.model.fitting import Fit, fitted
from easel.model.hub import fetched, places
from easel.model.reader import LookReader
from easel.model.training_memory import SMALLER
from easel.model.wiring import wiring
from easel.schema.generation import GenerationRequest
from easel.schema.painting import (
    Lesson,
    Materials,
    Notebook,
    Painting,
    Step,
    Taste,
    Trained,
    ignored,
    unheard,
)
from easel.schema.styles import Recipe as TrainingRecipe
from easel.settings import Chat, KreaSources
from easel.style.creativity import Expansion, agreed, expanded
from easel.style.expand import join
from easel.style.expanders import expander_of, speaker_of
from easel.style.krea_instruments import asked, moves
from easel.style.krea_styles import KreaWardrobe, with_triggers
from easel.style.krea_taste import contents, told_taste
from easel.style.krea_training import School, memory_of, train
from easel.style.painter import SHIPPED
from easel.style.schemes import schemes

log = structlog.get_logger()


class KreaPainter:
    """Holds Krea 2 on the GPU; paints one request at a time."""

    engine = "krea"

    def __init__(
        self,
        fit: Fit,
        devices: Sequence[torch.device],
        style_lora: Path | None,
        reader: LookReader,
        chat: Chat | None = None,
        compiles: bool = True,
    ) -> None:
        plan, (device, *others) = fit.plan, devices
        text_device = device if fit.text_beside else torch.device("cpu")
        self.checkpoint = f"krea-2-{fingerprint(plan.files | ({style_lora} if style_lora else set()))}"
        self._fit, self._plan, self.device, self._reader = fit, plan, device, reader
        self._wardrobe = KreaWardrobe(plan.transformers, device, style_lora)
        self._wiring = wiring(style_lora) if style_lora else None
        first, part = next(iter(plan.transformers.items()))
        several = Several(plan.transformers, device, others, compiles) if others else None
        backend = fastest(part.network, part.dtype, device, compiles)
        if several:
            backend = replace(backend, peers=several.peers)
        self._transformers = Transformers(plan.transformers, device, backend, fit.streamed, plan.working)
        self._transformers.take(first)  # the first picture need not wait for it
        self._text = open_weights.load_text(plan.text, plan.parts, text_device)
        self._engine = KreaEngine(self._transformers, self._text, plan.vae.load(device), several)
        self._speaker = speaker_of(self._text, is_fast=text_device == device, graphs=compiles)
        self._expander = expander_of(chat, self._speaker)
        if device.type == "cuda":
            warm(self._engine, self._transformers, first, self._wardrobe.reads_in_context(first))

    @classmethod
    def load(
        cls,
        sources: KreaSources,
        on_device: str = "",
        reader: Path = SHIPPED / "reader",
        chat: Chat | None = None,
    ) -> "KreaPainter":
        """The painter of these weights, fetched if need be; `chat` expands prompts in place of their text
        encoder. Raises CheckpointError saying what is wrong."""
        device, *others = (best_device(name) for name in on_device.split(","))
        if device.type == "cuda":
            torch.cuda.set_device(device.index or 0)  # else what names no device begins on the first
        free = free_memory(device)
        outside = memory_outside() if device.type == "cuda" else None
        find = partial(fetched, memory=free + (outside or 0), precision=sources.precision)
        plan = open_weights.planned(*places(sources, find))
        fit = fitted(plan, sources.precision, free, outside)
        if others and fit.streamed:
            raise CheckpointError(
                f"EASEL_DEVICE names {1 + len(others)} GPUs, and each of them must hold a transformer whole, "
                f"for which {free / 1e9:.1f} GB are too few: name one, or set EASEL_PRECISION=fp8"
            )
        log.info("Krea 2 fits", device=str(device), **fit.told)
        lora = Path(sources.style_lora).expanduser() if sources.style_lora else None
        looks = krea2.filled(LookReader, reader)
        with computing_on(device):
            return cls(fit, [device, *others], lora, looks, chat, sources.compiles)

    @watched
    def paint(
        self,
        request: GenerationRequest,
        materials: Materials,
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """Paint; `on_prompt` and `on_step` may raise to stop."""
        recipe = RECIPES[model.variant]
        if recipe.weights not in self._plan.transformers:
            name = f"Krea-2-{recipe.weights.title()}"
            raise EngineError(f"{model.title} is painted by {name}: set EASEL_KREA_{recipe.weights.upper()}")
        expansion = self._expansion(
            request, materials, seed, partial(on_step, Step(0, recipe.steps, lambda: None))
        )
        finished = partial(in_the_mood, request, materials)
        expansion = agreed(expansion, request.prompt, finished, on_prompt)
        prompt = finished(expansion.prompt)
        width, height = request.size
        shown = schemes(materials.references, self._wardrobe.reads_in_context(recipe.weights))
        conditioning = Conditioning(
            prompt=prompt,
            negative=", ".join(materials.mood.avoids),
            width=width,
            height=height,
            seed=seed,
            weights=recipe.weights,
            steps=recipe.steps,
            guidance=recipe.guidance,
            styles=self._wardrobe.worn(materials.adapters, recipe.weights, bool(shown.get("context"))),
            moves=moves(request),
            **shown,
            **begun(request, materials.start),
        )
        with self._engine.at_work:
            image = self._engine.paint(conditioning, on_step)
        told = {
            "expansion": expansion.told,
            "styles": {adapter.id: adapter.strength for adapter in materials.adapters},
        }
        return Painting(image, prompt, self._details(conditioning, request) | told)

    def _expansion(
        self, request: GenerationRequest, materials: Materials, seed: int, going_on: Callable[[], None]
    ) -> Expansion:
        """The prompt, written anew as far as was asked."""
        mood = materials.mood
        strengths = [one.strength for one in materials.references]
        strengths += [one.strength for one in materials.adapters]
        return expanded(
            request.prompt,
            request.creativity,
            seed,
            self._expander,
            tokens=self._text.count,
            styled=any(strengths) or bool(mood.keywords),
            avoids=mood.avoids,
            going_on=going_on,
        )

    def _details(self, conditioning: Conditioning, request: GenerationRequest) -> dict[str, Any]:
        times = times_of(conditioning).tolist()
        return {
            "notice": NOTICE,
            "weights": conditioning.weights,
            "steps": len(times) - 1,
            "start": {"strength": conditioning.strength, "time": times[0]} if conditioning.start else None,
            "guidance": conditioning.guidance,
            "negative_prompt": conditioning.negative if conditioning.guidance else None,
            "avoided_in_attention": None if conditioning.guidance else conditioning.negative or None,
            "references": {
                "in_context": [strength for _, strength in conditioning.context],
                "shared_attention": [round(weight, 3) for _, weight in conditioning.looks],
                "in_prompt": [round(weight, 3) for _, weight in conditioning.tints],
            },
            "style_lora": self._wiring if conditioning.context else None,
            "instruments": asked(request),
            "creativity": request.creativity,
            "prompt_cut": self._engine.cuts(conditioning.prompt),
            "fit": self._fit.told,
            "memory_gb": peak_gb(self.device),
            "timings": {f"{part}_seconds": round(s, 3) for part, s in self._engine.seconds.items()},
        }

    @watched
    def analyse(self, pictures: Iterable[Image.Image], going_on: Callable[[], None] = unheard) -> Taste:
        """Read a moodboard: the small model's reader groups its pictures, the text encoder finds words."""
        return told_taste(pictures, self._reader, self._speaker, going_on)

    @watched
    def train(self, lessons: Iterable[Lesson], recipe: TrainingRecipe, notebook: Notebook) -> Trained:
        """Learn a LoRA on Raw; what paints stays as it is. EngineError where there is no Raw, or too little
        memory."""
        if "raw" not in self._plan.transformers:
            raise EngineError("Styles are trained on Krea-2-Raw: set EASEL_KREA_RAW to where it is")
        part = self._plan.transformers["raw"]
        taken = memory_of(part, self.device)
        try:
            with self._engine.apart("raw", taken) as apart:
                describe = partial(contents, model=self._speaker)
                school = School(apart.network, self._text, self._engine.pixels, self.checkpoint, describe)
                trained = train(school, lessons, recipe, notebook)
        except torch.OutOfMemoryError as error:
            clear_frames(error.__traceback__)  # what they hold is in the painting's way
            raise EngineError(
                f"The training ran out of memory, though {taken / 1e9:.1f} GB were left to it beside "
                f"Krea-2-Raw: paint less beside it, or take a larger GPU{SMALLER.get(part.precision, '')}"
            ) from None
        fit = {
            "precision": part.precision,
            "streamed_blocks": f"{apart.streamed} of {len(part.block_bytes)}",
            "memory_gb": round(apart.need / 1e9, 1),
        }
        return replace(trained, details=trained.details | {"fit": fit})


def begun(request: GenerationRequest, start: Image.Image | None) -> dict[str, Any]:
    """The picture to begin with, cut to the frame about its middle, unless nothing of it is to be kept."""
    if start is None or request.strength == 1:
        return {}
    return {
        "start": ImageOps.fit(start, request.size, Image.Resampling.LANCZOS),
        "strength": request.strength,
    }


def in_the_mood(request: GenerationRequest, materials: Materials, prompt: str) -> str:
    """The prompt with a moodboard's keywords behind it, unless it is to stay raw, and what the styles were
    trained to hear."""
    moody = prompt if request.creativity == "raw" else join(prompt, list(materials.mood.keywords))
    return with_triggers(moody, materials.adapters)
