"""What passes between a job and the painter that works on it; free of torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from PIL.Image import Image

from easel.catalog import Model
from easel.schema.generation import GenerationRequest


@dataclass(frozen=True)
class Reference:
    """A style reference, opened."""

    image: Image  # RGB
    strength: float


@dataclass(frozen=True)
class Step:
    """One finished step of a painting."""

    index: int  # from 1
    total: int
    preview: Image | None  # small, RGB


@dataclass(frozen=True)
class Painting:
    """A finished picture and how it came about."""

    image: Image
    prompt: str  # as expanded
    details: dict[str, Any]  # plan, timings: anything JSON can hold


def ignored(prompt: str) -> None:
    """What listens to an expanded prompt where nobody does."""


class Painter(Protocol):
    """Something that paints what a request asks for."""

    engine: str  # "nano", "null"
    checkpoint: str  # names the weights, so that a picture can be painted again

    def paint(
        self,
        request: GenerationRequest,
        references: Sequence[Reference],
        model: Model,
        seed: int,
        on_step: Callable[[Step], None],
        on_prompt: Callable[[str], None] = ignored,
    ) -> Painting:
        """Paint, calling `on_prompt` with the expanded prompt before and `on_step` after each step; what they
        raise ends the painting."""
        ...
