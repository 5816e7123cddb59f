"""Which of a GPU's attention kernels is the fastest here: each is tried, and believed if it does as torch's
plain form does.

What there is depends on card, driver and installed packages, and is not to be told without trying.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from easel.model.attention import Telling, Volumes, attend, attend_apart, attend_at, told

ERROR = 0.02  # of half precision, beside the plain form: more is something else
PROBED = 256  # queries by which a kernel is judged
TOKENS = 4160  # of a picture of a megapixel and its prompt


def by_torch(backend: SDPBackend, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    with sdpa_kernel(backend):
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2)


def by_flash_3(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return dispatch_attention_fn(q, k, v, backend=AttentionBackendName._FLASH_3)


def told_by_flash_3(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return dispatch_attention_fn(
        q, k, v, attention_kwargs={"return_lse": True}, backend=AttentionBackendName._FLASH_3
    )


def told_by_flash(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    heads = (z.transpose(1, 2) for z in (q, k, v))
    out, total, *_ = torch.ops.aten._scaled_dot_product_flash_attention(*heads)
    return out.transpose(1, 2), total.transpose(1, 2)


def told_by_cudnn(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    heads = (z.transpose(1, 2).contiguous() for z in (q, k, v))  # it reads others wrongly
    out, total, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(*heads, None, True)
    return out.transpose(1, 2), total.reshape(out.shape[:3]).transpose(1, 2)


KERNELS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "flash 3": by_flash_3,
    "cuDNN": partial(by_torch, SDPBackend.CUDNN_ATTENTION),
    "flash": partial(by_torch, SDPBackend.FLASH_ATTENTION),
}
TELLING: dict[str, Telling] = {"flash 3": told_by_flash_3, "cuDNN": told_by_cudnn, "flash": told_by_flash}


def attend_by(
    kernel: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None
) -> Tensor:
    """`attend` by a kernel, unless there is a bias."""
    return kernel(q, k, v).flatten(2) if bias is None else attend(q, k, v, bias)


WAYS = {name: partial(attend_by, kernel) for name, kernel in KERNELS.items()}


def chosen(transformer: Any, device: torch.device) -> dict[str, tuple[str, Callable[..., Any]]]:
    """The fastest `attend`, `attend_at` and `telling` for a transformer's heads on a GPU, with their kernels'
    names."""
    q, k, v = probe(transformer, device)
    volumes: Volumes = ((TOKENS // 2, 1.0), (TOKENS - TOKENS // 2, 0.5))
    plainly = (q[:, :PROBED].float(), k.float(), v.float())
    given, wanted = (q, k, v, volumes), attend_at(*plainly, volumes)
    telling = {"torch": told} | TELLING
    ways = {name: partial(attend_apart, kernel) for name, kernel in telling.items()}
    teller, apart = fastest(ways, given, wanted)
    return {
        "attend": fastest({"torch": attend} | WAYS, (q, k, v), attend(*plainly)),
        "attend_at": fastest({"torch": attend_at, f"{teller}, apart": apart}, given, wanted),
        "telling": (teller, telling[teller]),
    }


def probe(transformer: Any, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by chance, as many as a picture's."""
    config = transformer.config
    shapes = (config.num_attention_heads, config.num_key_value_heads, config.num_key_value_heads)
    q, k, v = (
        torch.randn(1, TOKENS, heads, config.attention_head_dim, device=device, dtype=torch.bfloat16)
        for heads in shapes
    )
    return q, k, v


def fastest(
    ways: Mapping[str, Callable[..., Tensor]], given: tuple[Any, ...], wanted: Tensor
) -> tuple[str, Callable[..., Tensor]]:
    """The fastest of the ways that give what is `wanted` of the first queries (the first way is sure to)."""
    sure, *_ = ways
    times: dict[str, float] = {}
    for name, way in ways.items():
        try:
            if name == sure or error(way(*given)[:, : wanted.shape[1]], wanted) < ERROR:
                way(*given)
                times[name] = min(seconds(way, *given) for _ in range(3))
        except Exception:  # whatever a kernel raises that is not there, or not for this card
            continue
    best = min(times, key=lambda name: times[name])
    return best, ways[best]


def error(out: Tensor, wanted: Tensor) -> float:
    """How far apart, beside the size of what is wanted; NaN counts as far."""
    apart = float((out.float() - wanted).norm() / wanted.norm())
    return apart if apart == apart else float("inf")


def seconds(run: Callable[..., object], *given: Any) -> float:
    """How long a run takes, on the GPU too if there is one."""
    settle()
    begun = time.perf_counter()
    run(*given)
    settle()
    return time.perf_counter() - begun


def settle() -> None:
    """Wait until the GPU has done all that it was handed."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
