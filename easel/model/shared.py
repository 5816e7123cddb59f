"""Style references without training: the picture's tokens attend to what references say in the same block.

At each step the references, noised as far as the picture is, pass through the network beside a prompt that
says nothing. From the second quarter of the blocks on, the picture looks at their keys and values too, its
own queries, keys and values brought near to their statistics (StyleAligned, arXiv 2312.02133). Each reference
is looked at by itself and the outcomes are mixed, so that several do not compete for attention and their
order means nothing. A reference's keys lose what turns fast with position (RoPE), so that colours and strokes
are found wherever they are and its layout is not copied.

The numbers are those that others settled on for Krea 2; without its weights none of them was tried here.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model import flow
from easel.model.nag import steered
from easel.model.transformer import attend, embed_time, finished, modulation_of, projected

FIRST = 1 / 4  # of the blocks: those before it see no references
LIKE_KEYS, LIKE_VALUES = 0.85, 0.65  # how far queries and keys, and values, take the references' statistics
LOUD = 1.06  # a reference's keys, beside the picture's own
FAST, SLOW = 0.0, 1.10  # its keys' fastest and slowest turning parts
BEND = 2.5  # how early the parts between are as loud as the slowest
NOISE = 42  # seed of the references' noise


class Look(NamedTuple):
    """A reference, ready for all steps."""

    clean: Tensor  # (1, R, C), its latents' tokens
    noise: Tensor  # (1, R, C)
    positions: Tensor  # (R, 3)
    weight: float  # how far attention goes to it: 1 is all the way, below 0 is away from it


class Manner(NamedTuple):
    """Mean and spread over tokens, (1, 1, heads, head dim) each."""

    mean: Tensor
    spread: Tensor


class Said(NamedTuple):
    """What a reference says in one block."""

    q: Manner  # of its queries
    k: Tensor  # (1, R, kv heads, head dim), rotated
    v: Tensor  # (1, R, kv heads, head dim)


Voices = Sequence[tuple[float, Sequence[Said | None]]]  # weights, and what is said in each block


def weight_of(strength: float) -> float:
    """How far attention goes to a reference of this strength, -2 to 2: .44 at .5, .75 at 1, 1 at 2; below 0,
    half as far away from it."""
    felt = abs(strength) * (1 - abs(strength) / 4)
    return felt if strength > 0 else -felt / 2


def balanced(weights: Sequence[float]) -> list[float]:
    """Weights of which those above 0 come to no more than 1 together."""
    over = max(1.0, sum(weight for weight in weights if weight > 0))
    return [weight / over if weight > 0 else weight for weight in weights]


def listen(transformer: Krea2Transformer2DModel, looks: Sequence[Look], t: Tensor, nothing: Tensor) -> Voices:
    """What each reference says in each block at the time `t` (1,); `nothing` (1, T, D) is an empty prompt's
    features."""
    return [(look.weight, listen_to(transformer, look, t, nothing)) for look in looks]


def listen_to(
    transformer: Krea2Transformer2DModel, look: Look, t: Tensor, nothing: Tensor
) -> list[Said | None]:
    """What one reference says in each block; None where it is not heard."""
    words = nothing.shape[1]
    noisy = flow.noised(look.clean, look.noise, t).to(nothing.dtype)
    rotary = transformer.rotary_emb(torch.cat([look.positions.new_zeros(words, 3), look.positions]))
    _, modulation = embed_time(transformer, t, nothing.dtype)
    hidden = torch.cat([nothing, transformer.img_in(noisy)], 1)
    said: list[Said | None] = []
    for i, block in enumerate(transformer.transformer_blocks):
        table = modulation_of(block, modulation, hidden.dtype)
        q, k, v, gate = projected(block, hidden, table, rotary)
        heard = i >= first_block(transformer)
        said.append(Said(manner_of(q[:, words:]), k[:, words:], v[:, words:]) if heard else None)
        hidden = finished(block, hidden, attend(q, k, v, None), gate, table)
    return said


def first_block(transformer: Krea2Transformer2DModel) -> int:
    """The first block that sees references: the 8th of 28."""
    return int(FIRST * len(transformer.transformer_blocks))


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    positions: Tensor,
    voices: Voices,
    avoided: Tensor | None = None,
) -> Tensor:
    """The velocity (1, N, C) of noisy tokens `x` (1, N, C) at the time `t` (1,), hearing the references, and
    moving away from the features `avoided` (1, A, D)."""
    words, shunned = text.shape[1], 0 if avoided is None else avoided.shape[1]
    rotary = transformer.rotary_emb(torch.cat([positions.new_zeros(shunned + words, 3), positions]))
    time, modulation = embed_time(transformer, t, x.dtype)
    turning = loudness(transformer.config.axes_dims_rope).to(x)
    hidden = torch.cat([text[:, :0] if avoided is None else avoided, text, transformer.img_in(x)], 1)
    for i, block in enumerate(transformer.transformer_blocks):
        table = modulation_of(block, modulation, hidden.dtype)
        q, k, v, gate = projected(block, hidden, table, rotary)
        near, keys, values = (z[:, shunned:] for z in (q, k, v))
        own = attend(near, keys, values, None)
        found = [
            (weight, look_around(near, keys, values, words, turning, heard))
            for weight, said in voices
            if (heard := said[i]) is not None
        ]
        out = torch.cat([own[:, :words], mixed(own[:, words:], found)], 1)
        if shunned:
            out = steered(out, own, q, k, v, shunned, words, x.shape[1])
        hidden = finished(block, hidden, out, gate, table)
    return transformer.final_layer(hidden[:, shunned + words :], time)


def mixed(own: Tensor, found: Sequence[tuple[float, Tensor]]) -> Tensor:
    """What the picture's tokens find by themselves, `own` (1, N, D), moved towards what they find in each
    reference; where any is to be kept away from, no token grows longer than it was."""
    moved = own
    for weight, other in found:
        moved = moved + weight * (other - own)
    if any(weight < 0 for weight, _ in found):
        moved = moved * (own.norm(dim=-1, keepdim=True) / moved.norm(dim=-1, keepdim=True)).clamp(max=1)
    return moved


def look_around(q: Tensor, k: Tensor, v: Tensor, words: int, turning: Tensor, said: Said) -> Tensor:
    """What the picture's tokens find in the prompt, themselves and one reference, (1, N, D)."""
    q = like(q[:, words:], said.q, LIKE_KEYS)
    keys = [k[:, :words], like(k[:, words:], manner_of(said.k), LIKE_KEYS), LOUD * turning * said.k]
    values = [v[:, :words], like(v[:, words:], manner_of(said.v), LIKE_VALUES), said.v]
    return attend(q, torch.cat(keys, 1), torch.cat(values, 1), None)


def manner_of(x: Tensor) -> Manner:
    """The statistics of `x` (1, N, heads, d)."""
    return Manner(x.mean(1, keepdim=True), x.std(1, keepdim=True))


def like(x: Tensor, other: Manner, share: float) -> Tensor:
    """`x` (1, N, heads, d) brought by `share` to other statistics: AdaIN, arXiv 1703.06868, eq. 8."""
    own = manner_of(x)
    return torch.lerp(x, (x - own.mean) / (own.spread + 1e-6) * other.spread + other.mean, share)


def loudness(axes: Sequence[int]) -> Tensor:
    """How loud each part of a reference's key is, (head dim,), for axes of so many channels: from FAST for
    what turns fastest with position to SLOW for what turns slowest; the first axis does not turn at all."""
    parts = [torch.full((axes[0],), SLOW)]
    for channels in axes[1:]:
        rising = torch.linspace(0, 1, channels // 2) ** (1 / BEND)
        parts.append((FAST + (SLOW - FAST) * rising).repeat_interleave(2))
    return torch.cat(parts)
