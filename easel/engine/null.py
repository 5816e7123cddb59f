"""A painter without a model: a flat colour from the seed, for tests of everything around it."""

import random
import time
from collections.abc import Callable, Sequence

from PIL import Image

from easel.catalog import Model
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Painting, Reference, Step, ignored


class NullPainter:
    """Paints one colour, in the steps of the model that it stands for."""

    engine = "null"
    checkpoint = "null"

    def __init__(self, step_seconds: float = 0) -> None:
        self._step_seconds = step_seconds

    def paint(
        self,
        request: GenerationRequest,
        references: Sequence[Reference],
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """The colour of `seed`, after as many steps as `model` takes."""
        on_prompt(request.prompt)
        colour = tuple(random.Random(seed).randbytes(3))
        image = Image.new("RGB", request.size, colour)
        for index in range(1, model.steps + 1):
            time.sleep(self._step_seconds)
            on_step(Step(index, model.steps, image.resize((32, 32))))
        return Painting(image, request.prompt, {"references": len(references)})
