"""What the safety filter refuses, soberly: a drawing that is none, and painters that misbehave."""

from collections.abc import Callable, Sequence

from PIL import Image, ImageDraw

from easel.catalog import Model
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Painting, Reference, Step, ignored

FOLDS = [
    ((81, 138, 129, 240), (181, 132, 101)),
    ((85, -79, 199, 177), (168, 120, 94)),
    ((171, 79, 333, 309), (175, 107, 92)),
]


def folds() -> Image.Image:
    """Three ellipses, of which the detector is 98% sure that they are something else."""
    image = Image.new("RGB", (256, 256), (225, 180, 150))
    draw = ImageDraw.Draw(image)
    for box, colour in FOLDS:
        draw.ellipse(box, colour)
    return image


class Misbehaving:
    """A painter that says, shows and paints what it is told to."""

    engine = checkpoint = "misbehaving"

    def __init__(
        self, picture: Image.Image, preview: Image.Image | None = None, prompt: str | None = None
    ) -> None:
        self.painted = 0
        self._picture, self._preview, self._prompt = picture, preview or picture, prompt

    def paint(
        self,
        request: GenerationRequest,
        references: Sequence[Reference],
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        on_prompt(self._prompt or request.prompt)
        self.painted += 1
        on_step(Step(1, 1, self._preview.copy))
        return Painting(self._picture, self._prompt or request.prompt, {})
