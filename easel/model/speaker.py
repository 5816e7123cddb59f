"""Qwen3-VL, the text encoder, asked for words: the same weights hear prompts and answer questions."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import DynamicCache

from easel.errors import NoAnswer
from easel.model.following import Following
from easel.model.prompts import PICTURE, PICTURE_END, PromptEncoder, said
from easel.model.sequence import Piece, Together, inputs, positions, seen

SYSTEM = "<|im_start|>system\n"
USER = "<|im_end|>\n<|im_start|>user\n"
ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
END = "<|im_end|>"
LIKELIEST = 20  # tokens that are drawn from, as Qwen's own configuration has it
BEAT = 16  # tokens after which it is asked whether to go on


class Speaker:
    """Answers with the network and the tokenizer of a prompt encoder."""

    name = "the text encoder"

    def __init__(self, encoder: PromptEncoder, graphs: bool = False) -> None:
        self._encoder, self._model, self._graphs = encoder, encoder.model, graphs
        self._end = encoder.tokenizer.convert_tokens_to_ids(END)

    def ask(
        self,
        instruction: str,
        question: str,
        pictures: Sequence[Image.Image] = (),
        *,
        most: int,
        temperature: float,
        seed: int,
        going_on: Callable[[], None] = lambda: None,
    ) -> str:
        """The answer to a question about pictures, in `most` tokens; NoAnswer if those do not suffice.

        The same seed gives the same answer; at a temperature of 0 the likeliest token is taken each time.
        `going_on` is called now and then, and may raise to stop.
        """
        text = self._encoder.tokens
        shown = [
            piece for one in pictures for piece in (text(PICTURE), Together([seen(one)]), text(PICTURE_END))
        ]
        pieces = [text(SYSTEM + instruction + USER), *shown, text(said(question) + ANSWER)]
        found: list[int] = []
        for token in self._following(pieces, most, temperature, seed):
            if token == self._end:
                return self._encoder.tokenizer.decode(found, skip_special_tokens=True).strip()
            found.append(token)
            if len(found) % BEAT == 0:
                going_on()
        raise NoAnswer(f"the answer was not at its end after {most} tokens")

    @torch.inference_mode()
    def _following(self, pieces: Sequence[Piece], most: int, temperature: float, seed: int) -> Iterator[int]:
        """The tokens that follow `pieces`, as many as `most`."""
        generator, cache = torch.Generator().manual_seed(seed), DynamicCache()
        given = inputs(self._model, pieces)
        state = self._model(**given, past_key_values=cache, use_cache=True).last_hidden_state[0, -1]
        place = int(positions(pieces).max()) + 1
        following = Following(self._model, cache, place, most, self._graphs)
        for _ in range(most):
            token = drawn(self._logits(state), temperature, generator)
            yield token
            state = following(token)

    def _logits(self, state: Tensor) -> Tensor:
        """How likely each token is to follow, (V,): by a head of its own where there is one, else by the
        embeddings."""
        head = getattr(self._model, "lm_head", None) or self._model.get_input_embeddings()
        return F.linear(state.to(head.weight), head.weight).float()


def drawn(logits: Tensor, temperature: float, generator: torch.Generator) -> int:
    """One of the LIKELIEST tokens."""
    if temperature == 0:
        return int(logits.argmax())
    values, tokens = (x.cpu() for x in logits.topk(min(LIKELIEST, len(logits))))
    return int(tokens[torch.multinomial((values / temperature).softmax(0), 1, generator=generator)])


def speaks(model: Any) -> bool:
    """Whether the network can put its states into words: its head is the embeddings, or it has its own."""
    return bool(model.config.tie_word_embeddings) or hasattr(model, "lm_head")
