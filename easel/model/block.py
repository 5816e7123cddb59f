"""The halves of one block of Krea 2's transformer, on diffusers' weights: before its attention, and behind.

Attention itself stands between the two: it is where references are heard.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

Rotary = tuple[Tensor, Tensor]
BEFORE, BEHIND = slice(2), slice(2, 6)  # attention, of the modulation

MATRICES = (  # of a block
    "attn.to_q",
    "attn.to_k",
    "attn.to_v",
    "attn.to_gate",
    "attn.to_out.0",
    "ff.gate",
    "ff.up",
    "ff.down",
)


class Thin(NamedTuple):
    """Two matrices whose product is added to a larger one."""

    down: Tensor  # (rank, in)
    up: Tensor  # (out, rank)


Added = Mapping[str, Thin]  # beside each of MATRICES


class TwoTimes(NamedTuple):
    """Modulation of tokens of which some are clean."""

    now: Tensor  # (B, 1, 6 D)
    clean: Tensor  # (B, 1, 6 D), at t = 0
    still: Tensor  # (1, L, 1), True where a token is clean


Modulation = Tensor | TwoTimes  # (B, 1, 6 D) where all tokens are of one time


def modulation_of(block: Any, modulation: Modulation, dtype: torch.dtype, part: slice) -> Sequence[Tensor]:
    """A part of scale, shift and gate before attention, then before the feed-forward network, (B, 1 or L, D)
    each."""
    if isinstance(modulation, Tensor):
        return (modulation.unflatten(-1, (6, -1)) + block.scale_shift_table).to(dtype).unbind(-2)[part]
    now, clean, still = modulation
    both = zip(*(modulation_of(block, at, dtype, part) for at in (clean, now)), strict=True)
    return [torch.where(still, at_0, at_t) for at_0, at_t in both]


def product(block: Any, name: str, x: Tensor, added: Added | None) -> Tensor:
    """Tokens `x` (B, L, in) through one of the block's matrices, with what is added beside it."""
    out = block.get_submodule(name)(x)
    if added is None:
        return out
    down, up = added[name]
    return out + F.linear(F.linear(x, down), up)


def projected(
    block: Any, x: Tensor, modulation: Modulation, rotary: Rotary, added: Added | None = None
) -> tuple[Tensor, ...]:
    """Of tokens `x` (B, L, D): rotated queries and keys, values, (B, L, heads or kv heads, head dim), and the
    output's gate (B, L, D)."""
    prescale, preshift = modulation_of(block, modulation, x.dtype, BEFORE)
    attention, h = block.attn, (1 + prescale) * block.norm1(x) + preshift
    q, k, v, gate = (product(block, name, h, added) for name in MATRICES[:4])
    q = attention.norm_q(q.unflatten(-1, (attention.num_heads, -1)))
    k = attention.norm_k(k.unflatten(-1, (attention.num_kv_heads, -1)))
    v = v.unflatten(-1, (attention.num_kv_heads, -1))
    q, k = apply_rotary_emb(q, rotary, sequence_dim=1), apply_rotary_emb(k, rotary, sequence_dim=1)
    return q, k, v, gate


def finished(
    block: Any, x: Tensor, out: Tensor, gate: Tensor, modulation: Modulation, added: Added | None = None
) -> Tensor:
    """`x` (B, L, D) with what the block's attention gave, `out` (B, L, D), and its feed-forward network."""
    pregate, postscale, postshift, postgate = modulation_of(block, modulation, x.dtype, BEHIND)
    x = x + pregate * product(block, "attn.to_out.0", out * torch.sigmoid(gate), added)
    h = (1 + postscale) * block.norm2(x) + postshift
    opened = F.silu(product(block, "ff.gate", h, added)) * product(block, "ff.up", h, added)
    return x + postgate * product(block, "ff.down", opened, added)
