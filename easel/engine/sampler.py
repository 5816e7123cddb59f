"""The Euler loop on the flow: noise to a picture's latents, step by step."""

from collections.abc import Callable
from itertools import pairwise

import torch
from diffusers import Krea2Transformer2DModel
from torch import Tensor

from easel.model import in_context, shared
from easel.model.block import Rotary
from easel.model.transformer import References, predict

OnStep = Callable[[int, Tensor], None]  # the step's number from 1, and what the picture looks like by now
Read = References | in_context.Context | None  # references, before or in the picture's own sequence


def silence(step: int, t: Tensor) -> shared.Heard:
    """What is heard where there are no references."""
    return ()


def sample(
    transformer: Krea2Transformer2DModel,
    noise: Tensor,
    times: Tensor,
    text: Tensor,
    positions: Tensor,
    *,
    sketch: Tensor | None = None,
    references: Read = None,
    away: Read = None,
    text_mask: Tensor | None = None,
    negative: Tensor | None = None,
    guidance: float = 0.0,
    hear: Callable[[int, Tensor], shared.Heard] = silence,
    avoided: Tensor | None = None,
    on_step: OnStep = lambda step, tokens: None,
) -> Tensor:
    """Follow the flow from `noise` (1, N, C) along `times` (steps + 1,) from 1 to 0; gives the clean tokens
    (1, N, C).

    `text` and `negative` come from `fuse_text`; `text_mask` is True where their tokens count. `references`
    pull; from what `away` alone would do, the step moves off by as much. Guidance follows Krea's convention,
    v = cond + guidance * (cond - uncond), and is off at 0. What `on_step` raises ends the sampling.

    `hear` gives what is heard, at a step from 0 and its time (1,), of references that share attention.
    From the features `avoided` (1, A, D) the picture's attention moves away (`easel.model.nag`).

    Nothing here waits for the device: a step may be told of before the device has taken it.

    A network that takes a `sketch` (1, N, C) sees it as further channels, and foretells how the picture
    differs from it where Krea 2's gives the velocity itself.
    """
    channels = noise.shape[-1]

    def placed(references: Read) -> tuple[Read, Rotary]:
        beside = [references.positions] if isinstance(references, in_context.Context) else []
        return references, transformer.rotary_emb(torch.cat([positions, *beside]))

    def flow(x: Tensor, t: Tensor, text: Tensor, references: Read, rotary: Rotary) -> Tensor:
        given = transformer, x.to(text.dtype), t, text, rotary
        if isinstance(references, in_context.Context):
            return in_context.predict(*given, references, avoided).float()
        if heard or avoided is not None:
            return shared.predict(*given, heard, avoided).float()
        seen = (x if sketch is None else torch.cat([x, sketch], -1)).to(transformer.img_in.weight.dtype)
        said = predict(transformer, seen, t, text, rotary, references, text_mask)[..., :channels].float()
        return said if sketch is None else (x - sketch - said) / t[:, None, None]

    pull = placed(references)
    push = pull if away is None else placed(away)
    x = noise
    for i, (t, after) in enumerate(pairwise(times)):
        at = t.expand(len(x))
        heard = hear(i, at)
        v = flow(x, at, text, *pull)
        if away is not None:
            v = v + (v - flow(x, at, text, *push))
        if guidance > 0 and negative is not None:
            v = v + guidance * (v - flow(x, at, negative, *pull))
        on_step(i + 1, x - t * v)
        x = x + (after - t) * v
    return x
