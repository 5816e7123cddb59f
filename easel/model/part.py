"""A network without memory, and where each of its weights lies: how much it takes, and how it is loaded.

Weights are read straight to the device, in the precision they come in: eight bits stay eight bits, half stays
half, a GGUF file's blocks stay blocks; norms are kept in float32, as diffusers keeps them.
"""

import copy
import math
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from torch import Tensor, nn

from easel.errors import CheckpointError
from easel.model import eight_bits, four_bits, gguf_bits
from easel.model.eight_bits import EIGHT, Linear8
from easel.model.files import Stored
from easel.model.four_bits import Linear4
from easel.model.gguf_bits import KINDS, LinearGguf
from easel.model.gguf_files import is_gguf

Precision = Literal["bf16", "fp8", "nf4"]
KEPT_BY: Mapping[Precision, Callable[[int, int], nn.Linear]] = {
    "bf16": partial(nn.Linear, bias=False),
    "fp8": Linear8,
    "nf4": Linear4,
}
FOUR = torch.uint8  # two weights of four bits
KNOWN = ("F32", "BF16", "F16")  # what weights may be, beside eight bits with at most one scale a matrix


@dataclass(frozen=True)
class Part:
    """A network without memory, and where each of its weights lies."""

    network: Any
    weights: Mapping[str, Stored]  # by the network's names
    scales: Mapping[str, Stored]  # of those of eight bits
    dtype: torch.dtype  # of what is multiplied

    @cached_property
    def bytes(self) -> int:
        """The memory that it takes once loaded."""
        return sum(self.size(name) for name in self.weights)

    @cached_property
    def block_bytes(self) -> Sequence[int]:
        """The memory that each block of a transformer takes."""
        sizes = [0] * len(self.network.transformer_blocks)
        for name in self.weights:
            if name.startswith("transformer_blocks."):
                sizes[int(name.split(".")[1])] += self.size(name)
        return sizes

    def size(self, name: str) -> int:
        """Bytes that the weight `name` takes once loaded."""
        count, packed = self.weights[name].numel, self._packed(name)
        if packed is not None:
            return packed.nbytes
        if self._kept(name) == FOUR:
            return count // 2 + 4 * count // four_bits.RUN
        return count * self._kept(name).itemsize

    def load(self, device: torch.device, behind: Container[str] = ()) -> Any:
        """The network with its weights on `device`, ready for inference; those named `behind` stay in the
        machine's own memory."""
        network = copy.deepcopy(self.network)  # still without memory: it can be loaded again
        state: dict[str, Tensor] = {}
        for file in {one.file for one in self.weights.values()}:
            get = getter(file, str(device))
            for name in (n for n, one in self.weights.items() if one.file == file):
                read = self._read(name, get)
                state |= {n: weight.cpu() for n, weight in read.items()} if name in behind else read
        network.load_state_dict(state, strict=True, assign=True)
        for name, buffer in network.named_buffers():
            if name not in state:  # it is computed, and was not stored
                _put(network, name, buffer.to(device))
        for layer in network.modules():
            if isinstance(layer, Linear8):
                layer.able = eight_bits.is_able(device)
        return network.eval().requires_grad_(False)

    @property
    def precision(self) -> str:
        """What the matrices of its blocks are kept in."""
        layers = [self._layer(name) for name in self.matrices()]
        if mixed := Counter(layer.kind for layer in layers if isinstance(layer, LinearGguf)):
            return mixed.most_common(1)[0][0]
        kinds = {type(layer) for layer in layers}
        return "nf4" if Linear4 in kinds else "fp8" if Linear8 in kinds else str(self.dtype).split(".")[1]

    def in_precision(self, precision: Precision) -> "Part":
        """The same transformer with the matrices of its blocks kept so. Of a file with eight bits, those that
        are in more stay so."""
        names = self.matrices()
        in_eight = [name for name in names if self.weights[name].dtype == "F8_E4M3"]
        changed = in_eight if precision == "fp8" and in_eight else names
        return self._made_of(dict.fromkeys(changed, KEPT_BY[precision]))

    def in_blocks(self) -> "Part":
        """The same network with every matrix that its file keeps in blocks kept so."""
        layers = {
            name: partial(LinearGguf, kind=one.dtype, bias=self._layer(name).bias is not None)
            for name, one in self.weights.items()
            if one.dtype in KINDS and name.endswith(".weight") and isinstance(self._layer(name), nn.Linear)
        }
        return self._made_of(layers)

    def _made_of(self, layers: Mapping[str, Callable[[int, int], nn.Linear]]) -> "Part":
        network = copy.deepcopy(self.network)
        for name, kind in layers.items():
            layer, path = self._layer(name), name.removesuffix(".weight")
            with torch.device("meta"):
                _put(network, path, kind(layer.in_features, layer.out_features))
        return replace(self, network=network)

    def matrices(self) -> list[str]:
        """The weights of its blocks that are multiplied with."""
        return [
            name
            for name, one in self.weights.items()
            if name.startswith("transformer_blocks.") and name.endswith(".weight") and len(one.shape) == 2
        ]

    def _read(self, name: str, get: Callable[[str], Tensor]) -> dict[str, Tensor]:
        stored, packed, kept = self.weights[name], self._packed(name), self._kept(name)
        weight = get(stored.name)
        if packed is not None:
            return {f"{name}_packed": weight.view(packed.shape)}
        if stored.dtype in KINDS:
            weight = gguf_bits.widened(weight, stored.dtype).view(stored.shape)
        if weight.dtype == EIGHT:
            beside = self.scales.get(name)
            scale = get(beside.name).float().reshape(()) if beside else torch.ones((), device=weight.device)
            if kept == EIGHT:
                return {f"{name}8": weight, f"{name}_scale": scale.expand(len(weight), 1).contiguous()}
            weight = weight.float() * scale
        if kept == EIGHT:
            weight8, scale = eight_bits.rounded(weight)
            return {f"{name}8": weight8, f"{name}_scale": scale}
        if kept == FOUR:
            weight4, scale = four_bits.rounded(weight.to(self.dtype))
            return {f"{name}4": weight4, f"{name}_scale": scale}
        return {name: weight.to(kept).view(self.network.get_parameter(name).shape)}

    def _kept(self, name: str) -> torch.dtype:
        """What the weight `name` is kept as."""
        if name.split(".")[-2] in (getattr(self.network, "_keep_in_fp32_modules", None) or ()):
            return torch.float32
        return {Linear8: EIGHT, Linear4: FOUR}.get(type(self._layer(name)), self.dtype)

    def _packed(self, name: str) -> Tensor | None:
        """The place for the weight `name` in blocks, if it is kept so."""
        layer = self._layer(name)
        return layer.weight_packed if isinstance(layer, LinearGguf) and name.endswith(".weight") else None

    def _layer(self, name: str) -> Any:
        return self.network.get_submodule(name.rpartition(".")[0])


def getter(file: Path, device: str) -> Callable[[str], Tensor]:
    """What reads a weight of the file to `device`, by its name there."""
    return (
        gguf_bits.getter(file, device) if is_gguf(file) else safe_open(file, "pt", device=device).get_tensor
    )


def part_of(network: nn.Module, stored: Mapping[str, Stored]) -> Part:
    """`network` and the weights meant for it, which must be all of its own, and no others."""
    scales = {
        name.removesuffix("_scale"): one for name, one in stored.items() if name.endswith(".weight_scale")
    }
    weights = {name: one for name, one in stored.items() if not name.endswith(".weight_scale")}
    _same(network.state_dict(), weights)
    for name, one in weights.items():
        eight = one.dtype == "F8_E4M3" and (name not in scales or scales[name].numel == 1)
        if one.dtype not in (*KNOWN, *KINDS) and not eight:
            raise CheckpointError(
                f"{one.name!r} is kept as {one.dtype}: take a file in BF16, in eight bits with one scale a "
                f"matrix (fp8_scaled), or a GGUF file of {', '.join(sorted(KINDS))}"
            )
    plain = all(one.dtype == "F32" for one in weights.values())
    made = Part(network, weights, scales, torch.float32 if plain else torch.bfloat16)
    eight = any(weights[name].dtype == "F8_E4M3" for name in made.matrices())
    return made.in_precision("fp8") if eight else made.in_blocks()  # as it is stored


def _same(expected: Mapping[str, Tensor], weights: Mapping[str, Stored]) -> None:
    """Raise CheckpointError unless these are the weights that the network expects."""
    if missing := sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"it lacks {missing[0]!r} and {len(missing) - 1} more weights: fetch it again")
    if strange := sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"it is another network's: it holds {strange[0]!r} and {len(strange) - 1} more")
    for name, one in weights.items():
        shape = tuple(expected[name].shape)
        bare = tuple(n for n in shape if n > 1)  # as ggml keeps a matrix of one row
        flat = name.endswith("scale_shift_table") and math.prod(shape) == one.numel
        if one.shape not in (shape, bare) and not flat:
            raise CheckpointError(f"it is another network's: {one.name!r} is {one.shape}, not {shape}")


def _put(network: nn.Module, path: str, what: Any) -> None:
    """Put a layer or buffer in the place of the one of this path."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, what)
