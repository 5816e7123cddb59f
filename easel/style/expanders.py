"""Who expands prompts for Krea's open weights: their own text encoder, an address, or nobody."""

from collections.abc import Callable
from typing import Protocol

from easel.errors import NoAnswer
from easel.model.prompts import PromptEncoder
from easel.model.speaker import Speaker, speaks
from easel.settings import Chat
from easel.style.endpoint import Endpoint


class Expander(Protocol):
    """A language model."""

    name: str

    def ask(
        self,
        instruction: str,
        question: str,
        *,
        most: int,
        temperature: float,
        seed: int,
        going_on: Callable[[], None],
    ) -> str:
        """The answer, in `most` tokens; NoAnswer without one. What `going_on` raises ends the wait."""
        ...


class Mute:
    """None, and why."""

    name = "nobody"

    def __init__(self, why: str) -> None:
        self._why = why

    def ask(self, *_: object, **__: object) -> str:
        """NoAnswer."""
        raise NoAnswer(self._why)


def speaker_of(text: PromptEncoder, is_fast: bool, graphs: bool = False) -> Speaker | Mute:
    """The text encoder as a language model; it does not speak where it has no head for words, or where it is
    not `is_fast`, on the processor beside a GPU: an answer would take minutes. `graphs` are CUDA graphs."""
    if not speaks(text.model):
        return Mute("the text encoder has no lm_head for words: set EASEL_EXPANDER_URL")
    if not is_fast:
        return Mute("the GPU has no room for the text encoder: set EASEL_EXPANDER_URL")
    return Speaker(text, graphs)


def expander_of(chat: Chat | None, speaker: Speaker | Mute) -> Expander:
    """The address if there is one, else the text encoder."""
    return Endpoint(chat) if chat else speaker
