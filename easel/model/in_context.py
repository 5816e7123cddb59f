"""References in the picture's own sequence, as style LoRAs of ai-toolkit's kind were trained to read them.

The sequence is [prompt | picture | references] and all of it attends to all. A reference's latents are clean,
so its tokens are modulated at t = 0, on RoPE frame i + 1 with a grid of their own. LoRAs that were trained
with references attending to themselves alone take `easel.model.transformer.read_references` in place of this:
there the references' keys and values are the same at all steps and are computed once.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model.latents import pack
from easel.model.nag import steered
from easel.model.transformer import attend, embed_time, finished, grid, modulation_of, projected

PATCH = 2


class Context(NamedTuple):
    """References of strengths above 0, one behind the other."""

    tokens: Tensor  # (1, R, C)
    positions: Tensor  # (R, 3)
    bias: Tensor  # (R,), ln of the strength, added to the logits of the reference's keys


def context_of(references: Sequence[tuple[Tensor, float]]) -> Context:
    """Latents (1, C, h, w) and their strengths, above 0, as the network reads them."""
    tokens = [pack(z, PATCH) for z, _ in references]
    positions = [grid(z.shape[2] // PATCH, z.shape[3] // PATCH, i + 1) for i, (z, _) in enumerate(references)]
    strengths = [torch.full((x.shape[1],), s) for x, (_, s) in zip(tokens, references, strict=True)]
    device = tokens[0].device
    return Context(
        torch.cat(tokens, 1), torch.cat(positions).to(device), torch.cat(strengths).log().to(device)
    )


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    positions: Tensor,
    context: Context,
    avoided: Tensor | None = None,
) -> Tensor:
    """The velocity (1, N, C) of noisy tokens `x` (1, N, C) at the time `t` (1,); `text` (1, T, D) comes from
    `fuse_text`, as do the features `avoided` (1, A, D) that it moves away from, `positions` (N, 3) from
    `grid`."""
    words, shunned = text.shape[1], 0 if avoided is None else avoided.shape[1]
    seen = words + x.shape[1]
    places = torch.cat([positions.new_zeros(shunned + words, 3), positions, context.positions])
    rotary = transformer.rotary_emb(places)
    time, now = embed_time(transformer, t, x.dtype)
    _, clean = embed_time(transformer, torch.zeros_like(t), x.dtype)
    still = (torch.arange(len(places), device=x.device) >= shunned + seen)[None, :, None]
    bias = (
        torch.cat([x.new_zeros(seen), context.bias.to(x)])[None, None, None] if context.bias.any() else None
    )
    tokens = torch.cat([x, context.tokens.to(x.dtype)], 1)
    hidden = torch.cat([text[:, :0] if avoided is None else avoided, text, transformer.img_in(tokens)], 1)
    for block in transformer.transformer_blocks:
        both = (modulation_of(block, modulation, x.dtype) for modulation in (clean, now))
        table = [torch.where(still, at_0, at_t) for at_0, at_t in zip(*both, strict=True)]
        q, k, v, gate = projected(block, hidden, table, rotary)
        out = attend(q[:, shunned:], k[:, shunned:], v[:, shunned:], bias)
        if shunned:
            out = steered(out, out, q, k, v, shunned, words, x.shape[1], bias)
        hidden = finished(block, hidden, out, gate, table)
    return transformer.final_layer(hidden[:, shunned + words : shunned + seen], time)
