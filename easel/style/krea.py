"""The painter of Krea's open weights, from a request to a picture."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from easel.catalog import RECIPES, Model, Recipe
from easel.engine.krea import TOKEN, Conditioning, KreaEngine, Transformers, best_device, free_memory, peak_gb
from easel.engine.warm import fastest, warm
from easel.errors import EngineError
from easel.model import krea2, open_weights
from easel.model.files import fingerprint
from easel.model.hub import fetched, places
from easel.model.reader import LookReader
from easel.model.shared import balanced, weight_of
from easel.schema.generation import GenerationRequest
from easel.schema.painting import (
    Lesson,
    Materials,
    Mood,
    Notebook,
    Painting,
    Reference,
    Step,
    Taste,
    Trained,
    ignored,
)
from easel.schema.styles import Recipe as TrainingRecipe
from easel.settings import KreaSources
from easel.style.expand import join
from easel.style.painter import SHIPPED
from easel.style.taste import taste

NOTICE = (  # as the licence asks of whoever makes the model available
    "Krea 2 is licensed under the Krea 2 Community License Agreement. For more information, visit "
    "https://krea.ai/krea-2-licensing."
)
SIDE = 512  # pixels a side of a square as large as a reference may be: a quarter of a picture's tokens
MOST = 1024  # the same in context


class KreaPainter:
    """Holds Krea 2 on the GPU; paints one request at a time. Boards are read by the small model's reader."""

    engine = "krea"

    def __init__(
        self,
        plan: open_weights.Plan,
        device: torch.device,
        text_device: torch.device,
        style_lora: Path | None,
        reader: LookReader,
        compiles: bool = True,
    ) -> None:
        self.checkpoint = f"krea-2-{fingerprint(plan.files | ({style_lora} if style_lora else set()))}"
        self._plan, self._device, self._reader = plan, device, reader
        self._in_context = style_lora is not None
        lora = style_lora and open_weights.style_lora_at(style_lora, plan.transformers["turbo"].network)
        turbo = plan.transformers["turbo"]
        backend = fastest(turbo.network, turbo.dtype, device, compiles)
        transformers = Transformers(plan.transformers, device, lora or None, backend)
        transformers.take("turbo")  # the first picture need not wait for it
        self._engine = KreaEngine(
            transformers,
            open_weights.load_text(plan.text, plan.parts, text_device),
            plan.vae.load(device),
        )
        if device.type == "cuda":
            warm(self._engine, transformers, self._in_context)

    @classmethod
    def load(cls, sources: KreaSources, reader: Path = SHIPPED / "reader") -> "KreaPainter":
        """The painter of these weights, fetched if need be; raises CheckpointError saying what is wrong."""
        device = best_device()
        free = free_memory(device)
        plan = open_weights.planned(*places(sources, partial(fetched, memory=free)))
        open_weights.check_memory(plan, free)
        text_device = device if plan.need <= free else torch.device("cpu")
        lora = Path(sources.style_lora).expanduser() if sources.style_lora else None
        looks = krea2.filled(LookReader, reader)
        return cls(plan, device, text_device, lora, looks, sources.compiles)

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
        check_served(request, materials)
        recipe = RECIPES[model.variant]
        if recipe.weights not in self._plan.transformers:
            raise EngineError(f"{model.title} is painted by Krea-2-Raw: set EASEL_KREA_RAW to where it is")
        prompt = in_the_mood(request, materials.mood)
        on_prompt(prompt)
        width, height = request.size
        conditioning = Conditioning(
            prompt=prompt,
            negative=", ".join(materials.mood.avoids),
            width=width,
            height=height,
            seed=seed,
            weights=recipe.weights,
            steps=recipe.steps,
            guidance=recipe.guidance,
            **self._shown(materials.references, recipe),
        )
        image = self._engine.paint(conditioning, on_step)
        return Painting(image, prompt, self._details(conditioning, request))

    def _shown(self, references: Sequence[Reference], recipe: Recipe) -> dict[str, Any]:
        """The references, for the style LoRA if there is one for these weights."""
        if self._in_context and recipe.weights == "turbo":
            return {"context": [(at_most(r.image, MOST), r.strength) for r in references if r.strength != 0]}
        return {"looks": looked_at(references)}

    def _details(self, conditioning: Conditioning, request: GenerationRequest) -> dict[str, Any]:
        return {
            "notice": NOTICE,
            "weights": conditioning.weights,
            "steps": conditioning.steps,
            "guidance": conditioning.guidance,
            "negative_prompt": conditioning.negative if conditioning.guidance else None,
            "references": {
                "in_context": [strength for _, strength in conditioning.context],
                "shared_attention": [round(weight, 3) for _, weight in conditioning.looks],
            },
            "creativity": f"{request.creativity}: the prompt is not expanded",
            "prompt_cut": self._engine.cuts(conditioning.prompt),
            "memory_gb": peak_gb(self._device),
            "timings": {f"{part}_seconds": round(s, 3) for part, s in self._engine.seconds.items()},
        }

    def analyse(self, pictures: Iterable[Image.Image]) -> Taste:
        """Read a moodboard, as far as the small model's reader of looks can tell."""
        return taste(pictures, self._reader)

    def train(self, lessons: Iterable[Lesson], recipe: TrainingRecipe, notebook: Notebook) -> Trained:
        """Not yet: EngineError."""
        raise EngineError("Styles cannot be trained with Krea's weights yet: train with EASEL_MODELS=nano")


def check_served(request: GenerationRequest, materials: Materials) -> None:
    """EngineError naming what is asked for that does nothing with these weights yet."""
    asked = {
        "image_url": materials.start is not None and request.strength < 1,
        "styles": bool(materials.adapters),
        "intensity": request.intensity != 0,
        "complexity": request.complexity != 0,
        "movement": request.movement != 0,
    }
    if unserved := ", ".join(field for field, is_asked in asked.items() if is_asked):
        raise EngineError(f"{unserved}: not served with Krea's weights yet, leave it out or paint with nano")


def looked_at(references: Sequence[Reference]) -> list[tuple[Image.Image, float]]:
    """References to share attention with, and their weights; those of strength 0 are left out."""
    felt = [one for one in references if one.strength != 0]
    weights = balanced([weight_of(one.strength) for one in felt])
    return [(at_most(one.image, SIDE), weight) for one, weight in zip(felt, weights, strict=True)]


def at_most(picture: Image.Image, side: int) -> Image.Image:
    """The picture with no more pixels than a square of this side, its own sides whole tokens."""
    scale = min(1.0, side / (picture.width * picture.height) ** 0.5)
    width, height = (max(2, round(length * scale / TOKEN)) * TOKEN for length in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def in_the_mood(request: GenerationRequest, mood: Mood) -> str:
    """The prompt as it was written, with a moodboard's keywords behind it, unless it is to stay raw."""
    return request.prompt if request.creativity == "raw" else join(request.prompt, list(mood.keywords))
