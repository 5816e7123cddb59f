"""Style references without training: the picture's tokens attend to what references say in the same block.

The references, noised as far as the picture is, pass through the network beside a prompt that says nothing,
once for every three steps. From the second quarter of the blocks on, the picture looks at their keys and
values too, its own queries, keys and values brought near to their statistics (StyleAligned, arXiv
2312.02133). Each reference is looked at by itself and the outcomes are mixed, so that several do not compete
for attention and their order means nothing. A reference's keys lose what turns fast with position (RoPE), so
that colours and strokes are found wherever they are and its layout is not copied.

The numbers are those that others settled on for Krea 2; without its weights none of them was tried here.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model import flow
from easel.model.attention import together
from easel.model.backend import Backend, backend_of
from easel.model.block import Rotary
from easel.model.latents import noise, pack
from easel.model.manner import Manner, Manners, blended, manner_of, weighted
from easel.model.nag import Total, alone, steered
from easel.model.transformer import behind, embed_time, forward, grid, through

FIRST = 1 / 4  # of the blocks: those before it see no references
LOUD = 1.06  # a reference's keys, beside the picture's own
FAST, SLOW = 0.0, 1.10  # its keys' fastest and slowest turning parts
BEND = 2.5  # how early the parts between are as loud as the slowest
NOISE = 42  # seed of the references' noise
STEPS = 3  # that hear what the references say at the middle one of them
PATCH = 2  # latents a side of one token


class Looks(NamedTuple):
    """References of one size, ready for all steps."""

    clean: Tensor  # (n, R, C), their latents' tokens
    noise: Tensor  # (1, R, C)
    positions: Tensor  # (R, 3)
    weights: Sequence[float]  # how far attention goes to each: 1 is all the way, below 0 is away from it


class Said(NamedTuple):
    """What references of one size say in one block."""

    manners: Manners
    k: Tensor  # (n, R, kv heads, head dim), rotated, and as loud as they are heard
    v: Tensor  # (n, R, kv heads, head dim)

    def each(self) -> list["Said"]:
        """What each of them says."""
        alone = (
            [Manner(*(z[i : i + 1] for z in manner)) for manner in self.manners] for i in range(len(self.k))
        )
        return [Said(*one) for one in zip(alone, self.k.split(1), self.v.split(1), strict=True)]


Voice = Sequence[Said | None]  # what is said in each block; None where it is not heard
Voices = Sequence[tuple[Sequence[float], Voice]]  # of each size: weights, and what is said
Weighted = tuple[float, Said]  # of one reference


class Group(NamedTuple):
    """References that are looked at together."""

    manners: Manners  # that they lend the picture between them
    each: Sequence[Weighted]


Heard = Sequence[Sequence[Group]]  # in each block; empty where there are no references


def weight_of(strength: float) -> float:
    """How far attention goes to a reference of this strength, -2 to 2: .44 at .5, .75 at 1, 1 at 2; below 0,
    half as far away from it."""
    felt = abs(strength) * (1 - abs(strength) / 4)
    return felt if strength > 0 else -felt / 2


def balanced(weights: Sequence[float]) -> list[float]:
    """Weights of which those above 0 come to no more than 1 together."""
    over = max(1.0, sum(weight for weight in weights if weight > 0))
    return [weight / over if weight > 0 else weight for weight in weights]


def looks_of(references: Sequence[tuple[Tensor, float]]) -> list[Looks]:
    """Latents (1, C, h, w) and their weights, those of one size together; their noise is always the same."""
    sizes: dict[tuple[int, ...], list[tuple[Tensor, float]]] = {}
    for z, weight in references:
        sizes.setdefault(tuple(z.shape), []).append((z, weight))
    found = []
    for (_, channels, rows, columns), alike in sizes.items():
        clean = torch.cat([pack(z, PATCH) for z, _ in alike])
        noisy = noise(NOISE, channels, rows, columns, PATCH).to(clean)
        positions = grid(rows // PATCH, columns // PATCH).to(clean.device)
        found.append(Looks(clean, noisy, positions, [weight for _, weight in alike]))
    return found


def turns_of(times: Sequence[float]) -> list[int | None]:
    """With which step each step hears the references, for steps that begin and end at these times: what
    they say changes little from one to the next, so each three share it. None at 1, where the references
    would be noise alone."""
    steps = len(times) - 1
    first = sum(t == 1 for t in times)
    middles = (i - (i - first) % STEPS + STEPS // 2 for i in range(first, steps))
    return [*[None] * first, *(min(i, steps - 1) for i in middles)]


def hearing(
    times: Tensor, turns: Sequence[int | None], listen: Callable[[int, Tensor], Heard]
) -> Callable[[int, Tensor], Heard]:
    """What is heard at a step, of references that are listened to only where a turn begins; `listen` gets the
    turn's step and its time (1,)."""
    latest: dict[int, Heard] = {}

    def hear(step: int, _: Tensor) -> Heard:
        turn = turns[step]
        if turn is None:
            return ()
        if turn not in latest:
            latest.clear()
            latest[turn] = listen(turn, times[turn : turn + 1])
        return latest[turn]

    return hear


def listen(transformer: Krea2Transformer2DModel, looks: Looks, nothing: Tensor, t: Tensor) -> Voice:
    """What references of one size say in each block at the time `t` (1,); `nothing` (1, T, D) is an empty
    prompt's features."""
    words, backend = nothing.shape[1], backend_of(transformer)
    noisy = flow.noised(looks.clean, looks.noise, t).to(nothing.dtype)
    rotary = behind(words, transformer.rotary_emb(looks.positions))
    _, modulation = embed_time(transformer, t, nothing.dtype)
    loud = loudness(tuple(transformer.config.axes_dims_rope), nothing.device, nothing.dtype)
    first = first_block(transformer)
    said: list[Said | None] = []

    def keep(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        own = [z[:, words:] for z in (q, k, v)]  # whose words are not to stay with them
        said.append(Said([manner_of(z) for z in own], loud * own[1], own[2].clone()) if i >= first else None)
        return backend.attend(q, k, v)

    hidden = torch.cat([nothing.expand(len(noisy), -1, -1), transformer.img_in(noisy)], 1)
    through(transformer, hidden, modulation, rotary, keep)
    return said


def first_block(transformer: Krea2Transformer2DModel) -> int:
    """The first block that sees references: the 8th of 28."""
    return int(FIRST * len(transformer.transformer_blocks))


def ready(voices: Voices) -> Heard:
    """What is heard of voices at each step of a turn."""
    sizes = [weights for weights, _ in voices]
    return [groups(sizes, said) for said in zip(*(voice for _, voice in voices), strict=True)]


def groups(sizes: Sequence[Sequence[float]], said: Sequence[Said | None]) -> list[Group]:
    """References in a block, of weights by their sizes and what those of each size say: those to go towards
    together, each of those to keep away from by itself."""
    each = [
        one
        for weights, alike in zip(sizes, said, strict=True)
        if alike
        for one in zip(weights, alike.each(), strict=True)
    ]
    towards, away = ([one for one in each if sign * one[0] > 0] for sign in (1, -1))
    return [group(some) for some in (towards, *([one] for one in away)) if some]


def group(each: Sequence[Weighted]) -> Group:
    """References whose weights have one sign."""
    weights = [weight for weight, _ in each]
    alike = zip(*(said.manners for _, said in each), strict=True)
    return Group([blended(weights, manners) for manners in alike], each)


def predict(
    transformer: Krea2Transformer2DModel,
    x: Tensor,
    t: Tensor,
    text: Tensor,
    rotary: Rotary,
    heard: Heard,
    avoided: Tensor | None = None,
) -> Tensor:
    """The velocity (1, N, C) of noisy tokens `x` (1, N, C) at the time `t` (1,), hearing the references, and
    moving away from the features `avoided` (1, A, D)."""
    words, shunned = text.shape[1], 0 if avoided is None else avoided.shape[1]
    backend = backend_of(transformer)

    def look(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        near, keys, values = (z[:, shunned:] for z in (q, k, v))
        out = own = backend.attend(near, keys, values)
        seen = heard[i] if heard else ()
        found = [one for group in seen for one in looked(backend, near, keys, values, words, group)]
        if found:
            out = torch.cat([own[:, :words], mixed(own[:, words:], found, backend.total)], 1)
        if not shunned:
            return out
        return steered(out, own, q, k, v, shunned, words, x.shape[1], backend.attend, backend.total)

    before = text if avoided is None else torch.cat([avoided, text], 1)
    return forward(transformer, x, t, before, rotary, look)


def mixed(own: Tensor, found: Sequence[tuple[float, Tensor]], total: Total = alone) -> Tensor:
    """What the picture's tokens find by themselves, `own` (1, N, D), moved towards what they find in each
    reference; where any is to be kept away from, no token grows longer than it was. `total` adds what is
    found with heads that are elsewhere."""
    weights, others = zip(*found, strict=True)
    moved = weighted([1 - sum(weights), *weights], [own, *others])
    if min(weights) < 0:
        before, after = (total(x.float().square().sum(-1, keepdim=True)).sqrt() for x in (own, moved))
        moved = moved * (before / after).clamp(max=1).to(moved)
    return moved


def looked(
    backend: Backend, q: Tensor, k: Tensor, v: Tensor, words: int, group: Group
) -> list[tuple[float, Tensor]]:
    """What the picture's tokens find, (1, N, D), among the keys and values of the prompt, themselves and each
    reference in turn, once they have the manner of all of them; and its weight. The prompt and the picture
    itself are looked at once for all references."""
    queries, keys, values = backend.taken(q, k, v, words, group.manners)
    own = backend.telling(queries, keys, values)
    return [
        (weight, together([own, backend.telling(queries, said.k, said.v)])) for weight, said in group.each
    ]


@cache
def loudness(axes: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """How loud each part of a reference's key is, (head dim,), for axes of so many channels: LOUD, and from
    FAST for what turns fastest with position to SLOW for what turns slowest; the first axis does not turn at
    all."""
    parts = [torch.full((axes[0],), SLOW)]
    for channels in axes[1:]:
        rising = torch.linspace(0, 1, channels // 2) ** (1 / BEND)
        parts.append((FAST + (SLOW - FAST) * rising).repeat_interleave(2))
    return (LOUD * torch.cat(parts)).to(device, dtype)
