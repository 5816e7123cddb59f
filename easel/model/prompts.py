"""Prompts to the stack of hidden states that Krea 2's text fusion reads: Qwen3-VL, asked as in its
training."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from easel.errors import CheckpointError
from easel.model.sequence import Piece, Seen, Together, inputs, length, seen

PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
PREFIX_TOKENS, SUFFIX_TOKENS = 34, 5
MOST_TOKENS = 512 - SUFFIX_TOKENS  # of a prompt; what is beyond is not heard
PICTURE, PICTURE_END = "<|vision_start|>", "<|vision_end|>"
STYLE = (
    "Paint in the style of these pictures, in their medium, line, colours, light and surface, and show "
    "nothing that is in them. What to paint: "
)
LATEST = 8  # prompts whose states are kept: an empty one, and those of a batch
Pairs = tuple[tuple[str, str], ...]  # of phrases, each with its opposite
TAPS = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 32, 35)  # of Qwen3-VL-4B's 36 layers


class PromptEncoder:
    """Qwen3-VL with its tokenizer.

    Prompts are encoded one by one and without padding. The network makes the same of a padded one: padding is
    masked everywhere and takes no position (tests/test_krea.py holds it against diffusers' pipeline).
    """

    def __init__(self, model: Any, tokenizer: Any, taps: Sequence[int]) -> None:
        self.model, self.tokenizer, self._taps = model, tokenizer, taps
        lengths = tuple(len(self.tokens(text)) for text in (PREFIX, SUFFIX))
        if lengths != (PREFIX_TOKENS, SUFFIX_TOKENS):
            raise CheckpointError(
                f"the tokenizer cuts the prompt's frame into {lengths} tokens, not "
                f"{(PREFIX_TOKENS, SUFFIX_TOKENS)}: it is not Qwen3-VL's"
            )
        self._latest = lru_cache(LATEST)(self.encoded)

    def tokens(self, text: str) -> list[int]:
        return self.tokenizer(text).input_ids

    def is_cut(self, prompt: str) -> bool:
        """Whether the end of the prompt is not heard."""
        return len(self.tokens(PREFIX + prompt)) > PREFIX_TOKENS + MOST_TOKENS

    def count(self, text: str) -> int:
        """How many tokens it has."""
        return len(self.tokens(text))

    def tapped(
        self,
        prompt: str,
        pictures: Sequence[Image.Image] = (),
        tints: Sequence[tuple[Image.Image, float]] = (),
    ) -> Tensor:
        """Hidden states of the tapped layers for the pictures, the prompt and what follows it, (1, T, layers,
        C); those of the latest prompts are kept.

        `tints`, pictures and how loud each is beside the others, are seen before the prompt, for their style;
        what they themselves come to is dropped.
        """
        return self.encoded(prompt, pictures, tints) if pictures or tints else self._latest(prompt)

    @torch.inference_mode()
    def encoded(
        self,
        prompt: str,
        pictures: Sequence[Image.Image] = (),
        tints: Sequence[tuple[Image.Image, float]] = (),
    ) -> Tensor:
        """The same, encoded anew."""
        words = said(prompt) if pictures or tints else prompt
        heard = self.tokens(PREFIX + words)[: PREFIX_TOKENS + MOST_TOKENS]
        shown = [piece for i, one in enumerate(pictures, 1) for piece in self._shown(f"Picture {i}: ", one)]
        styled = self._styled([seen(one, share) for one, share in tints])
        before = [heard[:PREFIX_TOKENS], *shown]
        pieces = [*before, *styled, heard[PREFIX_TOKENS:] + self.tokens(SUFFIX)]
        states = self.model(
            **inputs(self.model, pieces), output_hidden_states=True, use_cache=False
        ).hidden_states
        start, end = (sum(map(length, part)) for part in (before, [*before, *styled]))
        found = torch.stack([states[tap] for tap in self._taps], 2)
        return torch.cat([found[:, PREFIX_TOKENS:start], found[:, end:]], 1)

    def _shown(self, name: str, picture: Image.Image) -> list[Piece]:
        """A picture under its name."""
        return [self.tokens(name + PICTURE), Together([seen(picture)]), self.tokens(PICTURE_END)]

    def _styled(self, pictures: Sequence[Seen]) -> list[Piece]:
        """Pictures in one place, and what they are for."""
        if not pictures:
            return []
        return [self.tokens(PICTURE), Together(pictures), self.tokens(PICTURE_END + STYLE)]


def said(text: str) -> str:
    """A user's words without what a tokenizer would take for its own marks."""
    return text.replace("<|", "< |")


def direction(heard: Callable[[str], Tensor], pairs: Pairs) -> Tensor:
    """The way from what the pairs' second phrases say to what their first say, (1, 1, D): the mean difference
    of the features (1, T, D) that are `heard` of them, each a mean over its tokens."""
    ways = [heard(more).mean(1, keepdim=True) - heard(less).mean(1, keepdim=True) for more, less in pairs]
    return torch.stack(ways).mean(0)
