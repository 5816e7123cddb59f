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
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Rotary = tuple[Tensor, Tensor]


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
    blocks = transformer.transformer_blocks
    keys: list[list[Tensor]] = [[] for _ in blocks]
    values: list[list[Tensor]] = [[] for _ in blocks]
    still = strengths.new_zeros(len(strengths))
    for i, latents in enumerate(references):
        rows, columns = latents.shape[-2:]
        rotary = transformer.rotary_emb(grid(rows, columns, i + 1).to(latents.device))
        tokens = latents.flatten(2).transpose(1, 2)
        x = transformer.img_in(F.pad(tokens, (0, transformer.in_channels - tokens.shape[-1])))
        _, modulation = embed_time(transformer, still, x.dtype)
        for block, ks, vs in zip(blocks, keys, values, strict=True):
            x, k, v = run_block(block, x, modulation, rotary)
            ks.append(k)
            vs.append(v)
    bias = torch.cat(
        [strengths[:, i : i + 1].log().expand(-1, r[0, 0].numel()) for i, r in enumerate(references)], 1
    )
    return References(tuple(torch.cat(k, 1) for k in keys), tuple(torch.cat(v, 1) for v in values), bias)


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    positions: Tensor,
    references: References | None = None,
    text_mask: Tensor | None = None,
) -> Tensor:
    """What the network says of noisy tokens `x` (B, N, C) at times `t` (B,) in 0..1: Krea 2's gives the
    flow's velocity.

    `text` comes from `fuse_text`; `positions` (N, 3) from `grid`; `text_mask` (B, T) is True where a token
    counts. A network whose gradient checkpointing is enabled keeps what goes into each block, and runs it
    again for the gradients.
    """
    rotary = transformer.rotary_emb(torch.cat([positions.new_zeros(text.shape[1], 3), positions]))
    time, modulation = embed_time(transformer, t, x.dtype)
    bias = attention_bias(text, text_mask, x, references)
    hidden = torch.cat([text, transformer.img_in(x)], 1)
    run: Any = run_block
    if transformer.gradient_checkpointing and torch.is_grad_enabled():
        run = partial(checkpoint, run_block, use_reentrant=False)
    for i, block in enumerate(transformer.transformer_blocks):
        context = (references.keys[i], references.values[i]) if references else None
        hidden, _, _ = run(block, hidden, modulation, rotary, context, bias)
    return transformer.final_layer(hidden[:, text.shape[1] :], time)


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


def run_block(
    block: Any,  # a Krea2TransformerBlock
    x: Tensor,
    modulation: Tensor,
    rotary: Rotary,
    context: tuple[Tensor, Tensor] | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One Krea 2 block on `x` (B, L, D); gives back also its rotated keys and its values, (B, L, kv heads,
    head dim)."""
    table = modulation_of(block, modulation, x.dtype)
    q, k, v, gate = projected(block, x, table, rotary)
    return finished(block, x, attend(q, *joined(k, v, context), bias), gate, table), k, v


def modulation_of(block: Any, modulation: Tensor, dtype: torch.dtype) -> Sequence[Tensor]:
    """Scale, shift and gate before attention, then before the feed-forward network, (B, 1 or L, D) each."""
    return (modulation.unflatten(-1, (6, -1)) + block.scale_shift_table).to(dtype).unbind(-2)


def projected(block: Any, x: Tensor, table: Sequence[Tensor], rotary: Rotary) -> tuple[Tensor, ...]:
    """Rotated queries and keys, values, (B, L, heads or kv heads, head dim), and the output's gate (B, L,
    D)."""
    prescale, preshift, *_ = table
    attention, h = block.attn, (1 + prescale) * block.norm1(x) + preshift
    q = attention.norm_q(attention.to_q(h).unflatten(-1, (attention.num_heads, -1)))
    k = attention.norm_k(attention.to_k(h).unflatten(-1, (attention.num_kv_heads, -1)))
    v = attention.to_v(h).unflatten(-1, (attention.num_kv_heads, -1))
    q, k = apply_rotary_emb(q, rotary, sequence_dim=1), apply_rotary_emb(k, rotary, sequence_dim=1)
    return q, k, v, attention.to_gate(h)


def finished(block: Any, x: Tensor, out: Tensor, gate: Tensor, table: Sequence[Tensor]) -> Tensor:
    """`x` (B, L, D) with what the block's attention gave, `out` (B, L, D), and its feed-forward network."""
    _, _, pregate, postscale, postshift, postgate = table
    x = x + pregate * block.attn.to_out[0](out * torch.sigmoid(gate))
    return x + postgate * block.ff((1 + postscale) * block.norm2(x) + postshift)


def joined(k: Tensor, v: Tensor, context: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    """Keys and values with the references' behind them."""
    return (k, v) if context is None else (torch.cat([k, context[0]], 1), torch.cat([v, context[1]], 1))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Grouped-query attention of (B, L, heads, d) to (B, S, kv heads, d), heads joined at the end: (B, L,
    heads * d).

    The fast kernels of a GPU take grouped heads as they are, but not with a bias; others get repeated ones.
    """
    grouped = q.is_cuda and bias is None
    if not grouped:
        groups = q.shape[2] // k.shape[2]
        k, v = k.repeat_interleave(groups, 2), v.repeat_interleave(groups, 2)
    q, k, v = (z.transpose(1, 2) for z in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)
