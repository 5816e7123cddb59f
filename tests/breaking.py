"""`easel work` with a painter that breaks: for each word in the file `breaks` of its data folder it takes the
word away and does what it says, `lost` or `hang`; without one it paints. Run as a program."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel import work
from easel.engine.null import NullPainter
from easel.errors import EngineLost
from easel.jobs import worker
from easel.safety.guard import Guard, guard_of
from easel.schema.painting import Lesson, Notebook, Painter, Painting, Trained
from easel.schema.styles import Recipe
from easel.settings import Settings

REASON = "the card has fallen off"


@dataclass
class Breaking(NullPainter):
    """Breaks as the file says, and counts in another what it has begun."""

    data: Path
    _step_seconds: float = 0

    def paint(self, *given: Any) -> Painting:
        with (self.data / "begun").open("a") as begun:
            begun.write(".")
        self._break()
        return super().paint(*given)

    def train(self, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
        self._break()
        return super().train(lessons, recipe, notebook)

    def _break(self) -> None:
        file = self.data / "breaks"
        word, *others = [*file.read_text().split(), ""]
        file.write_text(" ".join(others))
        if word == "lost":
            raise EngineLost(REASON)
        if word == "hang":
            threading.Event().wait()


def load(settings: Settings) -> tuple[Painter, Guard]:
    return Breaking(settings.data), guard_of(settings)


if __name__ == "__main__":
    work.load_tools = load
    worker.PATIENCE_SECONDS = 0.3
    work.work(Settings())
