"""A painter without a model: a flat colour from the seed, for tests of everything around it."""

import random
import time
from collections.abc import Callable, Iterable

from PIL import Image

from easel.catalog import Model
from easel.schema.generation import GenerationRequest
from easel.schema.moodboards import Swatch
from easel.schema.painting import (
    Alike,
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


class NullPainter:
    """Paints one colour, in the steps of the model that it stands for."""

    engine = "null"
    checkpoint = "null"

    def __init__(self, step_seconds: float = 0) -> None:
        self._step_seconds = step_seconds

    def paint(
        self,
        request: GenerationRequest,
        materials: Materials,
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """The colour of `seed`, after as many steps as `model` takes."""
        prompt = ", ".join([request.prompt, *materials.mood.keywords])
        on_prompt(prompt)
        colour = tuple(random.Random(seed).randbytes(3))
        image = Image.new("P", request.size)  # as a PNG, a fifth of the work of three channels
        image.putpalette(colour)
        small = Image.new("RGB", (32, 32), colour)
        for index in range(1, model.steps + 1):
            time.sleep(self._step_seconds)
            on_step(Step(index, model.steps, lambda: small))
        told = {
            "references": len(materials.references),
            "avoids": list(materials.mood.avoids),
            "start": materials.start is not None,
            "styles": {adapter.data.decode(): adapter.strength for adapter in materials.adapters},
        }
        return Painting(image, prompt, told)

    def analyse(self, pictures: Iterable[Image.Image], going_on: Callable[[], None] = unheard) -> Taste:
        """The first picture's colour in the middle, and words that never change."""
        colours = [picture.resize((1, 1)).tobytes().hex() for picture in pictures]
        palette = [Swatch(colour=f"#{colours[0]}", weight=1)]
        return Taste([Alike(0, 1, 0)], palette, f"{len(colours)} flat pictures.", ["flat"], ["photograph"])

    def train(self, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
        """The number of pictures and of steps as an adapter; each step is kept."""
        pictures = [lesson.caption for lesson in lessons]
        for number in range(int(notebook.state or 0) + 1, recipe.max_train_steps + 1):
            time.sleep(self._step_seconds)
            notebook.keep(b"%d" % number)
            notebook.step(number)
        told = {"captions": sum(map(bool, pictures)), "resumed": int(notebook.state or 0)}
        return Trained(b"%d pictures, %d steps" % (len(pictures), recipe.max_train_steps), told)
