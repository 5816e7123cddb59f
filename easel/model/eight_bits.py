"""Matrices in eight bits: multiplied as they are by a GPU that can, else widened one at a time."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from easel.model.kernels import error

EIGHT = torch.float8_e4m3fn
LARGEST = torch.finfo(EIGHT).max
ABLE = (8, 9)  # compute capability from which on a GPU multiplies eight bits
PROBE = 384, 512  # outputs and inputs of a product by which a GPU is judged
ERROR = 0.06  # of such a product, by the rounding of both sides .04: more is something else


class Linear8(nn.Linear):
    """A linear layer without bias whose weight is float8 with a scale for each output.

    To others its weight shows in bfloat16: adapters take its type for their own.
    """

    able = False  # whether its device multiplies eight bits as they are

    def __init__(self, in_features: int, out_features: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.weight8: Tensor
        self.weight_scale: Tensor
        self.register_buffer("weight8", torch.zeros(out_features, in_features, dtype=EIGHT))
        self.register_buffer("weight_scale", torch.ones(out_features, 1))
        self.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.widened(torch.bfloat16)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) as it is multiplied."""
        return self.weight8.to(dtype) * self.weight_scale.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        if self.able and x.dtype == torch.bfloat16 and not torch.is_grad_enabled():  # it has no gradient
            return multiplied(x, self.weight8, self.weight_scale)
        return F.linear(x, self.widened(x.dtype))


@cache
def is_able(device: torch.device) -> bool:
    """Whether a device multiplies eight bits as they are."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= ABLE and is_right(device)


def is_right(device: torch.device) -> bool:
    """Whether products in eight bits come out right on a device: it is tried, for not every build of torch
    has them for every card."""
    weight = torch.randn(*PROBE, device=device)
    x = torch.randn(PROBE[1], PROBE[1], device=device, dtype=torch.bfloat16)
    try:
        found = multiplied(x, *rounded(weight))
    except RuntimeError:
        return False
    return error(found, x.float() @ weight.T) < ERROR


def rounded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, C) in float8, and the scale (N, 1) in float32 that each is to be multiplied by."""
    scale = rows.abs().amax(1, keepdim=True).float().clamp(min=1e-12) / LARGEST
    return (rows / scale).to(EIGHT), scale


def multiplied(x: Tensor, weight8: Tensor, scale: Tensor) -> Tensor:
    """`x` (..., in) in bfloat16, each of its rows rounded to eight bits, by a matrix (out, in) of eight bits
    with scales (out, 1): (..., out)."""
    rows, sizes = rounded(x.flatten(0, -2))
    out = torch._scaled_mm(
        rows, weight8.t(), scale_a=sizes, scale_b=scale.t(), out_dtype=x.dtype, use_fast_accum=True
    )
    return out.unflatten(0, x.shape[:-1])
