"""Grouped-query attention, as torch does it.

Queries are (B, L, heads, d), keys and values (B, S, kv heads, d); what is found is (B, L, heads * d).
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor

Volumes = Sequence[tuple[int, float]]  # runs of so many keys, one behind the other, and how much they count
# Gives what is found, (B, L, heads, d), and the logarithm of what a query's weights come to before they are
# made to come to 1, (B, L, heads).
Telling = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The plain form; `bias` (broadcast to B, heads, L, S) is added to the logits.

    The fast kernels of a GPU take grouped heads as they are, but not with a bias; others get repeated ones.
    """
    grouped = q.is_cuda and bias is None
    if not grouped:
        k, v = repeated(k, q), repeated(v, q)
    q, k, v = (z.transpose(1, 2) for z in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=grouped)
    return out.transpose(1, 2).flatten(2)


def repeated(z: Tensor, q: Tensor) -> Tensor:
    """Keys or values with as many heads as the queries have."""
    return z.repeat_interleave(q.shape[2] // z.shape[2], 2)


def attend_at(q: Tensor, k: Tensor, v: Tensor, volumes: Volumes) -> Tensor:
    """The plain form where runs of keys are heard at volumes of their own, all above 0."""
    if all(volume == 1 for _, volume in volumes):
        return attend(q, k, v)
    volume = torch.cat([q.new_full((length,), volume) for length, volume in volumes])
    return attend(q, k, v, volume.log()[None, None, None])


def told(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The plain form of what tells of its weights; without a kernel of the device's own, head by head."""
    heads = [z.transpose(1, 2) for z in (q, repeated(k, q), repeated(v, q))]
    if q.device.type == "cpu":
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*heads)
    else:
        each = zip(*(z.unbind(1) for z in heads), strict=True)
        out, total = (torch.stack(parts, 1) for parts in zip(*(told_of(*head) for head in each), strict=True))
    return out.transpose(1, 2), total.transpose(1, 2)


def told_of(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The same of one head, (B, L, d)."""
    logits = q.float() @ k.float().mT * q.shape[-1] ** -0.5
    return (logits.softmax(-1) @ v.float()).to(v.dtype), logits.logsumexp(-1)


def attend_apart(telling: Telling, q: Tensor, k: Tensor, v: Tensor, volumes: Volumes) -> Tensor:
    """The same run by run, by a kernel that takes no bias."""
    lengths = [length for length, _ in volumes]
    runs = zip(k.split(lengths, 1), v.split(lengths, 1), strict=True)
    outs, totals = zip(*(telling(q, *run) for run in runs), strict=True)
    louder = [total + math.log(volume) for total, (_, volume) in zip(totals, volumes, strict=True)]
    return together(zip(outs, louder, strict=True))


def together(runs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """What is found among several runs of keys at once, (B, L, heads * d), out of what `Telling` gives of
    each: an outcome counts by what its weights come to (flash attention's blocks of keys: Dao et al. 2022,
    arXiv 2205.14135, section 3.1)."""
    outs, totals = zip(*runs, strict=True)
    found, wholes = outs[0], accumulate(totals, torch.logaddexp)
    for out, total, whole in zip(outs[1:], totals[1:], wholes, strict=False):
        share = (total - whole).sigmoid()[..., None]
        found = torch.lerp(found, out, share.to(found.dtype))
    return found.flatten(2)
