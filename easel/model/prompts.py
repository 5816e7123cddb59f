"""Prompts to the stack of hidden states that Krea 2's text fusion reads: Qwen3-VL, asked as in its
training."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from einops import rearrange, repeat
from PIL import Image
from torch import Tensor

from easel.errors import CheckpointError
from easel.model.latents import to_tensor

PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, "
    "spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
PREFIX_TOKENS, SUFFIX_TOKENS = 34, 5
MOST_TOKENS = 512 - SUFFIX_TOKENS  # of a prompt; what is beyond is not heard
PICTURE, PICTURE_END, PIXELS = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"
PATCH, MERGED = 16, 2  # pixels a side of a patch; patches a side that become one token
LATEST = 8  # prompts whose states are kept: an empty one, and those of a batch
SIDE = 384  # pixels a side of a square as large as a picture may be
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
        self._latest = lru_cache(LATEST)(self.encoded)

    def is_cut(self, prompt: str) -> bool:
        """Whether the end of the prompt is not heard."""
        return len(self._tokenizer(PREFIX + prompt).input_ids) > PREFIX_TOKENS + MOST_TOKENS

    def tapped(self, prompt: str, pictures: Sequence[Image.Image] = ()) -> Tensor:
        """Hidden states of the tapped layers for the pictures, the prompt and what follows it, (1, T, layers,
        C); those of the latest prompts are kept."""
        return self.encoded(prompt, pictures) if pictures else self._latest(prompt)

    @torch.inference_mode()
    def encoded(self, prompt: str, pictures: Sequence[Image.Image] = ()) -> Tensor:
        """The same, encoded anew."""
        heard = self._tokenizer(PREFIX + prompt).input_ids[: PREFIX_TOKENS + MOST_TOKENS]
        shown = [self._shown(i, picture) for i, picture in enumerate(pictures, 1)]
        before = [token for words, _, _ in shown for token in words]
        tokens = heard[:PREFIX_TOKENS] + before + heard[PREFIX_TOKENS:] + self._tokenizer(SUFFIX).input_ids
        states = self._model(
            input_ids=torch.tensor([tokens], device=self._model.device),
            output_hidden_states=True,
            use_cache=False,
            **(self._seen(tokens, shown) if shown else {}),
        ).hidden_states
        return torch.stack([states[tap] for tap in self._taps], 2)[:, PREFIX_TOKENS:]

    def _shown(self, number: int, picture: Image.Image) -> tuple[list[int], Tensor, tuple[int, int]]:
        """The tokens that hold a picture's place, its patches, and their rows and columns."""
        seen, rows, columns = patches(picture)
        place = PICTURE + PIXELS * (len(seen) // MERGED**2) + PICTURE_END
        return self._tokenizer(f"Picture {number}: {place}").input_ids, seen, (rows, columns)

    def _seen(
        self, tokens: Sequence[int], shown: Sequence[tuple[list[int], Tensor, tuple[int, int]]]
    ) -> dict[str, Tensor]:
        """What Qwen3-VL asks for beside the tokens."""
        device, pixels = self._model.device, self._model.config.image_token_id
        return {
            "pixel_values": torch.cat([seen for _, seen, _ in shown]).to(device),
            "image_grid_thw": torch.tensor([(1, *grid) for _, _, grid in shown], device=device),
            "mm_token_type_ids": torch.tensor([[int(token == pixels) for token in tokens]], device=device),
        }


def patches(picture: Image.Image) -> tuple[Tensor, int, int]:
    """A picture as Qwen3-VL's vision tower takes it: patches (N, 3 * 2 * 16 * 16) in -1..1, those that become
    one token side by side and each twice, for two frames; their rows and columns."""
    token = PATCH * MERGED
    scale = min(1.0, SIDE / (picture.width * picture.height) ** 0.5)
    width, height = (max(1, round(length * scale / token)) * token for length in picture.size)
    x = 2 * to_tensor(picture.resize((width, height), Image.Resampling.BICUBIC))[0] - 1
    cut = rearrange(x, "c (h m p) (w n q) -> (h w m n) c p q", m=MERGED, n=MERGED, p=PATCH, q=PATCH)
    return repeat(cut, "k c p q -> k (c t p q)", t=2), height // PATCH, width // PATCH
