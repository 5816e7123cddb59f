"""Matrices in four bits (nf4, Dettmers et al. 2023, arXiv 2305.14314): bitsandbytes widens one at a time."""

from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from easel.errors import CheckpointError

RUN = 64  # weights that share a scale


class Linear4(nn.Linear):
    """A linear layer without bias whose weight is kept in four bits.

    To others its weight shows in bfloat16: adapters take its type for their own.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        size = in_features * out_features
        self.weight4: Tensor
        self.weight_scale: Tensor
        self.register_buffer("weight4", torch.zeros(size // 2, 1, dtype=torch.uint8))
        self.register_buffer("weight_scale", torch.ones(size // RUN))
        self.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.widened(torch.bfloat16)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) as it is multiplied."""
        kit = four_bits()
        state = kit.QuantState(
            absmax=self.weight_scale,
            shape=torch.Size((self.out_features, self.in_features)),
            code=kit.get_4bit_type("nf4", device=self.weight4.device),
            blocksize=RUN,
            quant_type="nf4",
            dtype=dtype,
        )
        return kit.dequantize_4bit(self.weight4, state)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.widened(x.dtype))


def rounded(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) in four bits, and the scale of each run of RUN weights."""
    packed, state = four_bits().quantize_4bit(
        weight, blocksize=RUN, quant_type="nf4", compress_statistics=False
    )
    return packed, state.absmax


def four_bits() -> Any:
    """The package that knows them; CheckpointError where it is not installed."""
    if not find_spec("bitsandbytes"):
        raise CheckpointError(
            "EASEL_PRECISION=nf4 needs bitsandbytes, which is not installed: pip install bitsandbytes"
        )
    import bitsandbytes.functional

    return bitsandbytes.functional
