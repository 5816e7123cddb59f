"""A matrix that stays in eight bits and is widened, one at a time, where it is multiplied."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear8(nn.Linear):
    """A linear layer without bias whose weight is float8 with one scale for all of it."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False, dtype=torch.float8_e4m3fn)
        self.weight_scale: Tensor
        self.register_buffer("weight_scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype) * self.weight_scale.to(x.dtype))
