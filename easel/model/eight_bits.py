"""A matrix that stays in eight bits and is widened, one at a time, where it is multiplied."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear8(nn.Linear):
    """A linear layer without bias whose weight is float8 with one scale for all of it.

    To others its weight shows in bfloat16: adapters take its type for their own.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.weight8: Tensor
        self.weight_scale: Tensor
        self.register_buffer("weight8", torch.zeros(out_features, in_features, dtype=torch.float8_e4m3fn))
        self.register_buffer("weight_scale", torch.ones(()))
        self.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.widened(torch.bfloat16)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) as it is multiplied."""
        return self.weight8.to(dtype) * self.weight_scale.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.widened(x.dtype))
