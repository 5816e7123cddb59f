"""Weights at rest: matrices and convolutions as int8 with a scale a row, everything else in half precision,
in safetensors."""

from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

SHIPPED = Path(__file__).parents[1] / "checkpoints" / "nano"
SCALE = ".row_scale"


def save_int8(state: dict[str, Tensor], path: Path) -> None:
    """Write `state`; each row (what makes one output) is rounded to 127 steps of its largest value."""
    out: dict[str, Tensor] = {}
    for name, weight in state.items():
        if weight.ndim >= 2 and min(weight.shape[:2]) >= 48:
            rows = weight.flatten(1).float()
            scale = rows.abs().amax(1).clamp(min=1e-8) / 127
            out[name] = (rows / scale[:, None]).round().to(torch.int8).view(weight.shape)
            out[name + SCALE] = scale
        else:
            out[name] = weight.half()
    save_file({name: weight.contiguous() for name, weight in out.items()}, path)


def load(path: Path) -> dict[str, Tensor]:
    """Read what `save_int8` wrote, or any plain file, as float32."""
    stored = load_file(path)
    state = {name: weight.float() for name, weight in stored.items() if not name.endswith(SCALE)}
    for name, scale in stored.items():
        if name.endswith(SCALE):
            weight = state[name.removesuffix(SCALE)]
            weight *= scale.view(-1, *[1] * (weight.ndim - 1))
    return state


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of matrices and kernels in a file, by their layers' names, read from its head alone."""
    with safe_open(path, "pt") as file:
        sizes = {
            name.removesuffix(".weight"): tuple(file.get_slice(name).get_shape())
            for name in list(file.keys())
            if name.endswith(".weight")
        }
    return {name: size for name, size in sizes.items() if len(size) > 1}
