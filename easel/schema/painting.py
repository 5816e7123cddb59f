"""What passes between a job and the painter that works on it; free of torch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL.Image import Image

from easel.catalog import Model
from easel.schema.generation import GenerationRequest
from easel.schema.moodboards import Swatch
from easel.schema.styles import Recipe


@dataclass(frozen=True)
class Reference:
    """A style reference, opened."""

    image: Image  # RGB
    strength: float


@dataclass(frozen=True)
class Adapter:
    """A trained style, brought."""

    id: str  # of the style
    data: bytes  # its safetensors
    trigger_word: str  # "" is none
    strength: float  # not 0


@dataclass(frozen=True)
class Mood:
    """What a moodboard says in words."""

    keywords: Sequence[str] = ()  # for the prompt's expansion
    avoids: Sequence[str] = ()  # to be left out of it


@dataclass(frozen=True)
class Step:
    """One finished step of a painting."""

    index: int  # from 1
    total: int
    preview: Callable[[], Image | None]  # makes a small one, RGB; to be called while the step is told


UNMOVED = Mood()


@dataclass(frozen=True)
class Materials:
    """What a request names, brought and opened."""

    references: Sequence[Reference] = ()
    mood: Mood = UNMOVED
    adapters: Sequence[Adapter] = ()
    start: Image | None = None  # the picture to start from, RGB


@dataclass(frozen=True)
class Painting:
    """A finished picture and how it came about."""

    image: Image
    prompt: str  # as expanded
    details: dict[str, Any]  # plan, timings: anything JSON can hold


@dataclass(frozen=True)
class Alike:
    """Pictures of a moodboard that are much alike."""

    medoid: int  # the picture in their middle
    weight: float  # how many of the pictures they are, of 1
    direction: int  # from 0; alike in the large, of several such groups


@dataclass(frozen=True)
class Taste:
    """What a moodboard's pictures have in common, and how they differ."""

    clusters: Sequence[Alike]
    palette: Sequence[Swatch]
    profile: str
    keywords: Sequence[str]
    avoids: Sequence[str]
    words_by: str = "the small reader"


@dataclass(frozen=True)
class Lesson:
    """A picture to learn a style from."""

    image: Image  # RGB
    caption: str  # what it shows; "" where nobody has said


@dataclass(frozen=True)
class Trained:
    """A style that was learnt."""

    adapter: bytes  # safetensors
    details: dict[str, Any]  # what was learnt: anything JSON can hold


class Notebook(Protocol):
    """Where a training writes down how far it has come."""

    state: bytes | None  # of an earlier training that was broken off

    def step(self, number: int) -> None:
        """A step is done, the first is 1; what this raises ends the training."""
        ...

    def keep(self, state: bytes) -> None:
        """Keep `state`, to go on from there."""
        ...


def ignored(prompt: str) -> None:
    """What listens to an expanded prompt where nobody does."""


def unheard() -> None:
    """Who is told that work goes on where nobody listens."""


class Painter(Protocol):
    """Something that paints what a request asks for, reads moodboards, and learns styles."""

    engine: str  # "nano", "null"
    checkpoint: str  # names the weights, so that a picture can be painted again

    def paint(
        self,
        request: GenerationRequest,
        materials: Materials,
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """Paint, calling `on_prompt` with the expanded prompt before and `on_step` after each step; what they
        raise ends the painting."""
        ...

    def analyse(self, pictures: Iterable[Image], going_on: Callable[[], None] = unheard) -> Taste:
        """Read a moodboard's pictures, which come one after the other; what they raise ends the reading, as
        does what `going_on` raises, which is called now and then behind them."""
        ...

    def train(self, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
        """Learn a style from pictures, which come one after the other; what they raise ends the training.

        It may run in a thread beside one that paints.
        """
        ...
