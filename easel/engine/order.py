"""A picture's sampling, as each process that takes part in it does it."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from easel.catalog import Weights
from easel.engine.sampler import OnStep, sample, silence
from easel.engine.voices import KeptVoices
from easel.model import shared
from easel.model.lora import Style


@dataclass(frozen=True)
class Order:
    """What a picture is sampled from."""

    weights: Weights
    given: Mapping[str, Any]  # for `sample`
    times: Sequence[float]  # the same as those given, where they can be read without waiting for the device
    styles: Sequence[Style]
    looks: Sequence[shared.Looks]
    seen: Hashable  # which pictures the looks are of
    nothing: Tensor | None  # an empty prompt's features, for the looks
    afresh: bool  # whether nothing is kept of what references said before

    def said_at(self, step: int) -> Hashable:
        """All that what references say at a step depends on."""
        worn = tuple((style.name, style.strength) for style in self.styles)
        return self.weights, self.times[step], self.seen, worn


def sampled(transformer: Any, order: Order, voices: KeptVoices, on_step: OnStep) -> Tensor:
    """The picture's clean tokens (1, N, C), by a transformer that wears the styles already."""
    hear = hearing(transformer, order, voices)
    return sample(transformer, **order.given, hear=hear, on_step=on_step)


def hearing(transformer: Any, order: Order, voices: KeptVoices) -> Callable[[int, Tensor], shared.Heard]:
    """What is heard at a step and its time of the references that share attention."""
    nothing = order.nothing
    if nothing is None:
        return silence

    def listen(turn: int, t: Tensor) -> shared.Heard:
        said = [
            (
                alike.weights,
                voices.at((order.said_at(turn), i), partial(shared.listen, transformer, alike, nothing, t)),
            )
            for i, alike in enumerate(order.looks)
        ]
        return shared.ready(said)

    return shared.hearing(order.given["times"], shared.turns_of(order.times), listen)
