"""Prompts to the stack of hidden states that Krea 2's text fusion reads: Qwen3-VL, asked as in its
training."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from easel.errors import CheckpointError

PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
PREFIX_TOKENS, SUFFIX_TOKENS = 34, 5
MOST_TOKENS = 512 - SUFFIX_TOKENS  # of a prompt; what is beyond is not heard
TAPS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)  # of Qwen3-VL-4B's 36 layers


class PromptEncoder:
    """Qwen3-VL with its tokenizer.

    Prompts are encoded one by one and without padding. The network makes the same of a padded one: padding is
    masked everywhere and takes no position (tests/test_krea.py holds it against diffusers' pipeline).
    """

    def __init__(self, model: Any, tokenizer: Any, taps: Sequence[int]) -> None:
        lengths = tuple(len(tokenizer(text).input_ids) for text in (PREFIX, SUFFIX))
        if lengths != (PREFIX_TOKENS, SUFFIX_TOKENS):
            raise CheckpointError(
                f"the tokenizer cuts the prompt's frame into {lengths} tokens, not "
                f"{(PREFIX_TOKENS, SUFFIX_TOKENS)}: it is not Qwen3-VL's"
            )
        self._model, self._tokenizer, self._taps = model, tokenizer, taps

    def tokens(self, prompt: str) -> list[int]:
        """The prompt in its frame, as far as it is heard."""
        heard = self._tokenizer(PREFIX + prompt).input_ids[: PREFIX_TOKENS + MOST_TOKENS]
        return heard + self._tokenizer(SUFFIX).input_ids

    def is_cut(self, prompt: str) -> bool:
        """Whether the end of the prompt is not heard."""
        return len(self._tokenizer(PREFIX + prompt).input_ids) > PREFIX_TOKENS + MOST_TOKENS

    @torch.inference_mode()
    def tapped(self, prompt: str) -> Tensor:
        """Hidden states of the tapped layers for the prompt and what follows it, (1, T, layers, C)."""
        tokens = torch.tensor([self.tokens(prompt)], device=self._model.device)
        states = self._model(input_ids=tokens, output_hidden_states=True, use_cache=False).hidden_states
        return torch.stack([states[tap] for tap in self._taps], 2)[:, PREFIX_TOKENS:]
