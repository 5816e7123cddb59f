"""References in the picture's own sequence, as style LoRAs of ai-toolkit's kind were trained to read them.

The sequence is [prompt | picture | references] and all of it attends to all. A reference's latents are clean,
so its tokens are modulated at t = 0, on RoPE frame i + 1 with a grid of their own. LoRAs that were trained
with references attending to themselves alone take `easel.model.transformer.read_references` in place of this:
there the references' keys and values are the same at all steps and are computed once.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model.attention import Volumes
from easel.model.backend import backend_of
from easel.model.block import Rotary, TwoTimes
from easel.model.latents import pack
from easel.model.nag import steered
from easel.model.transformer import behind, embed_time, grid, through

PATCH = 2


class Context(NamedTuple):
    """References of strengths above 0, one behind the other."""

    tokens: Tensor  # (1, R, C)
    positions: Tensor  # (R, 3)
    volumes: Volumes  # of its runs of tokens: the strengths


def context_of(references: Sequence[tuple[Tensor, float]]) -> Context:
    """Latents (1, C, h, w) and their strengths, above 0, as the network reads them."""
    tokens = [pack(z, PATCH) for z, _ in references]
    positions = [grid(z.shape[2] // PATCH, z.shape[3] // PATCH, i + 1) for i, (z, _) in enumerate(references)]
    volumes = [(x.shape[1], strength) for x, (_, strength) in zip(tokens, references, strict=True)]
    return Context(torch.cat(tokens, 1), torch.cat(positions).to(tokens[0].device), volumes)


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    rotary: Rotary,
    context: Context,
    avoided: Tensor | None = None,
) -> Tensor:
    """The velocity (1, N, C) of noisy tokens `x` (1, N, C) at the time `t` (1,); `text` (1, T, D) comes from
    `fuse_text`, as do the features `avoided` (1, A, D) that it moves away from; `rotary` is that of the
    picture and the context."""
    words, shunned = text.shape[1], 0 if avoided is None else avoided.shape[1]
    seen = words + x.shape[1]
    time, modulation = embed_time(transformer, torch.cat([t, torch.zeros_like(t)]), x.dtype)
    tokens = torch.cat([x, context.tokens.to(x.dtype)], 1)
    hidden = torch.cat([text[:, :0] if avoided is None else avoided, text, transformer.img_in(tokens)], 1)
    still = (torch.arange(hidden.shape[1], device=x.device) >= shunned + seen)[None, :, None]
    backend = backend_of(transformer)
    heard = partial(backend.attend_at, volumes=[(seen, 1.0), *context.volumes])
    instead = partial(backend.attend_at, volumes=[(shunned + x.shape[1], 1.0), *context.volumes])

    def look(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = heard(*(z[:, shunned:] for z in (q, k, v)))
        if not shunned:
            return out
        return steered(out, out, q, k, v, shunned, words, x.shape[1], instead, backend.total)

    now, clean = modulation.split(1)
    hidden = through(transformer, hidden, TwoTimes(now, clean, still), behind(shunned + words, rotary), look)
    return transformer.final_layer(hidden[:, shunned + words : shunned + seen], time[:1])
