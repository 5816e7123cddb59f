"""The painter that ships: the nano model, from a request to a picture."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from PIL import Image

from easel.catalog import Model
from easel.engine.engine import Engine
from easel.model import krea2, weights
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
from easel.schema.styles import Recipe
from easel.style.adapters import Wardrobe
from easel.style.compose import compose
from easel.style.scene import Library
from easel.style.taste import taste
from easel.style.training import train

SHIPPED = weights.SHIPPED


class NanoPainter:
    """Holds the checkpoint and its drawings; paints one request at a time."""

    engine = "nano"

    def __init__(self, model: krea2.Krea2):
        self.checkpoint = model.name
        self._krea, self._wardrobe = model, Wardrobe(model)
        self._library = Library(model.drawings)

    @classmethod
    def load(cls, folder: Path = SHIPPED) -> "NanoPainter":
        """The painter of the checkpoint in `folder`; raises CheckpointError saying what is wrong with it."""
        return cls(krea2.load(folder))

    def paint(
        self,
        request: GenerationRequest,
        materials: Materials,
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """Compose and paint; `on_prompt` and `on_step` may raise to stop."""
        begun = time.perf_counter()
        composition = compose(request, materials, model, seed, self._krea, self._library, self._wardrobe)
        engine = Engine(self._wardrobe.networks(model.weights, composition.worn))
        composed = time.perf_counter() - begun
        on_prompt(composition.conditioning.prompt)
        image = engine.paint(composition.conditioning, on_step)
        timings = {"compose_seconds": composed} | {f"{k}_seconds": v for k, v in engine.seconds.items()}
        details = {
            "plan": composition.plan.summary(),
            "looks": [
                {"hand": look.hand, "technique": look.technique, "strength": s}
                for look, s in composition.conditioning.looks
            ],
            "start": composition.start and composition.start.summary(),
            "steps": model.steps,
            "timings": {part: round(seconds, 3) for part, seconds in timings.items()},
        }
        return Painting(image, composition.conditioning.prompt, details)

    def analyse(self, pictures: Iterable[Image.Image], going_on: Callable[[], None] = unheard) -> Taste:
        """Read a moodboard, as far as the reader of looks can tell."""
        return taste(pictures, self._krea.reader)

    def train(self, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
        """Learn a style; the networks that paint stay as they are."""
        return train(self._krea, lessons, recipe, notebook)
