"""Matrices as GGUF files keep them, in blocks of 32 or 256 weights of few bits with scales of their own:
diffusers' formulas, which are ggml's, widen one matrix at a time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.quantizers.gguf.utils import dequantize_functions
from gguf import GGML_QUANT_SIZES
from torch import Tensor, nn

from easel.model import gguf_files

KINDS = {kind.name: kind for kind in dequantize_functions if kind.name != "BF16"}  # "Q4_K"
AT_ONCE = 2**24  # weights that are widened in one go, which takes 10 bytes of each: less than a step has left


class LinearGguf(nn.Linear):
    """A linear layer whose weight is kept in one of KINDS.

    To others its weight shows in bfloat16: adapters take its type for their own.
    """

    def __init__(self, in_features: int, out_features: int, kind: str, bias: bool) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = in_features, out_features, kind
        self.weight_packed: Tensor
        size, room = GGML_QUANT_SIZES[KINDS[kind]]
        blocks, self._at_once = in_features * out_features // size, AT_ONCE // size
        self.register_buffer("weight_packed", torch.zeros(blocks, room, dtype=torch.uint8))
        self.register_parameter("bias", nn.Parameter(torch.zeros(out_features)) if bias else None)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.widened(torch.bfloat16)

    def widened(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in) as it is multiplied."""
        pieces = [widened(piece, self.kind).to(dtype) for piece in self.weight_packed.split(self._at_once)]
        return torch.cat(pieces).view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.widened(x.dtype), self.bias)


def widened(packed: Tensor, kind: str) -> Tensor:
    """Blocks of a kind, as bytes, to their weights (blocks, weights), in float32, as ggml reckons."""
    size, room = GGML_QUANT_SIZES[KINDS[kind]]
    return dequantize_functions[KINDS[kind]](packed.view(-1, room), size, room, dtype=torch.float32)


def getter(file: Path, device: str) -> Callable[[str], Tensor]:
    """What reads a weight of the file to `device`; of one that is kept in blocks, these as bytes."""
    tensors = {one.name: one for one in gguf_files.opened(file).tensors}

    def get(name: str) -> Tensor:
        weight = torch.from_numpy(np.array(tensors[name].data)).to(device)
        return weight.view(torch.bfloat16) if tensors[name].tensor_type.name == "BF16" else weight

    return get
