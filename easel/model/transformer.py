"""The Krea 2 transformer with reference pictures in context, on diffusers' weights and blocks.

What does not change from step to step is computed once: the prompt's fused features, and the keys and values
of the references. A reference's clean latent tokens attend only to themselves, modulated at t = 0, on RoPE
frame i + 1 with a grid of their own; the picture's and the prompt's tokens attend to them, with ln(strength)
added to the logits.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from easel.model.attention import attend
from easel.model.backend import backend_of
from easel.model.block import Modulation, Rotary
from easel.model.peers import Attend


class References(NamedTuple):
    """What the references leave in every block, and how strongly each of their tokens is heard."""

    keys: tuple[Tensor, ...]  # a block each, (B, R, kv heads, head dim), rotated
    values: tuple[Tensor, ...]
    bias: Tensor  # (B, R), ln of the strength


def grid(height: int, width: int, frame: int = 0, top: int = 0, left: int = 0) -> Tensor:
    """RoPE coordinates (frame, y, x) of a grid of tokens, (height * width, 3)."""
    y, x = torch.meshgrid(torch.arange(height) + top, torch.arange(width) + left, indexing="ij")
    return torch.stack([torch.full_like(y, frame), y, x], -1).reshape(-1, 3)


def fuse_text(transformer: Krea2Transformer2DModel, tapped: Tensor, mask: Tensor | None = None) -> Tensor:
    """The text encoder's hidden states (B, T, layers, C) to features of the transformer's width (B, T, D)."""
    keys = None if mask is None else mask[:, None, None, :]
    return transformer.txt_in(transformer.text_fusion(tapped, attention_mask=keys))


def read_references(
    transformer: Krea2Transformer2DModel, references: Sequence[Tensor], strengths: Tensor
) -> References:
    """Keys and values of reference latents, once for all steps.

    `references` are latents (B, C, h, w), one tensor a frame; `strengths` (B, frames) are above 0.
    """
    keys: list[list[Tensor]] = [[] for _ in transformer.transformer_blocks]
    values: list[list[Tensor]] = [[] for _ in transformer.transformer_blocks]

    def keep(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys[i].append(k)
        values[i].append(v)
        return attend(q, k, v)

    still = strengths.new_zeros(len(strengths))
    for i, latents in enumerate(references):
        rows, columns = latents.shape[-2:]
        rotary = transformer.rotary_emb(grid(rows, columns, i + 1).to(latents.device))
        tokens = latents.flatten(2).transpose(1, 2)
        x = transformer.img_in(F.pad(tokens, (0, transformer.in_channels - tokens.shape[-1])))
        _, modulation = embed_time(transformer, still, x.dtype)
        through(transformer, x, modulation, rotary, keep)
    bias = torch.cat(
        [strengths[:, i : i + 1].log().expand(-1, r[0, 0].numel()) for i, r in enumerate(references)], 1
    )
    return References(tuple(torch.cat(k, 1) for k in keys), tuple(torch.cat(v, 1) for v in values), bias)


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    rotary: Rotary,
    references: References | None = None,
    text_mask: Tensor | None = None,
) -> Tensor:
    """What the network says of noisy tokens `x` (B, N, C) at times `t` (B,) in 0..1: Krea 2's gives the
    flow's velocity.

    `text` comes from `fuse_text`; `rotary` from `transformer.rotary_emb(grid(...))`, the same at all steps;
    `text_mask` (B, T) is True where a token counts. A network whose gradient checkpointing is enabled keeps
    what goes into each block, and runs it again for the gradients.
    """
    bias = attention_bias(text, text_mask, x, references)
    backend = backend_of(transformer)

    def look(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if references:
            k, v = joined(k, v, (references.keys[i], references.values[i]))
        return backend.attend(q, k, v, bias)

    return forward(transformer, x, t, text, rotary, look)


def forward(
    transformer: Krea2Transformer2DModel, x: Tensor, t: Tensor, words: Tensor, rotary: Rotary, look: Attend
) -> Tensor:
    """What the network says of tokens `x` (B, N, C) at times `t` (B,) behind `words` (B, T, D), where `look`
    is its blocks' attention."""
    time, modulation = embed_time(transformer, t, x.dtype)
    hidden = torch.cat([words, transformer.img_in(x)], 1)
    hidden = through(transformer, hidden, modulation, behind(words.shape[1], rotary), look)
    return transformer.final_layer(hidden[:, words.shape[1] :], time)


def behind(words: int, rotary: Rotary) -> Rotary:
    """Of tokens that stand behind so many words, which are not turned."""
    cos, sin = rotary
    return F.pad(cos, (0, 0, words, 0), value=1.0), F.pad(sin, (0, 0, words, 0))


def embed_time(transformer: Krea2Transformer2DModel, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The time's embedding for the last layer, (B, 1, D), and the modulation all blocks share, (B, 1, 6
    D)."""
    time = transformer.time_embed(t, dtype=dtype)
    return time, transformer.time_mod_proj(F.gelu(time, approximate="tanh"))


def attention_bias(
    text: Tensor, text_mask: Tensor | None, x: Tensor, references: References | None
) -> Tensor | None:
    """What is added to the logits of each key, (B, 1, 1, T + N + R); None where it would be all zero."""
    heard = references.bias.to(x.dtype) if references is not None and references.bias.any() else None
    if text_mask is None and heard is None:
        return None
    words = x.new_zeros(text.shape[:2])
    if text_mask is not None:
        words = words.masked_fill(~text_mask, -math.inf)
    if heard is None:
        heard = x.new_zeros(len(x), 0 if references is None else references.bias.shape[1])
    return torch.cat([words, x.new_zeros(x.shape[:2]), heard], 1)[:, None, None, :]


def through(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    modulation: Modulation,
    rotary: Rotary,
    attend: Attend,
) -> Tensor:
    """Tokens `x` (B, L, D) through all blocks. `attend` gets the block's number, rotated queries (B, L,
    heads, d) and keys, and values (B, L, kv heads, d); it gives what the queries find, (B, L, D)."""
    backend, length = backend_of(transformer), x.shape[1]
    if backend.peers:
        x, modulation, rotary, attend = backend.peers.divided(x, modulation, rotary, attend)

    added = getattr(transformer, "added", None) or [None] * len(transformer.transformer_blocks)

    def run(i: int, block: Any, x: Tensor) -> Tensor:
        q, k, v, gate = backend.projected(block, x, modulation, rotary, added[i])
        return backend.finished(block, x, attend(i, q, k, v), gate, modulation, added[i])

    def both_times(i: int) -> tuple[Any, Any]:
        return backend.at_hand(i), backend.at_hand(i, again=True)

    again = transformer.gradient_checkpointing and torch.is_grad_enabled()
    for i, block in enumerate(transformer.transformer_blocks):
        if again:
            x = checkpoint(run, i, block, x, use_reentrant=False, context_fn=partial(both_times, i))
        else:
            with backend.at_hand(i):
                x = run(i, block, x)
    return backend.peers.whole(x, length) if backend.peers else x


def joined(k: Tensor, v: Tensor, context: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Keys and values with the references' behind them."""
    return torch.cat([k, context[0]], 1), torch.cat([v, context[1]], 1)
