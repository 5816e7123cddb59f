"""Changes of a network's layers by few numbers, and networks that carry them.

LoRA: a matrix W (out, in) becomes W + scale · up · down, with down (rank, in) and up (out, rank); a
convolution's kernels are matrices of which the rows are flattened (Hu et al. 2021, arXiv 2106.09685).
LoKr: W becomes W + scale · left ⊗ right, the Kronecker product (Yeh et al. 2023, arXiv 2309.14859).
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from easel.errors import StyleError
from easel.model.official import krea_name

DOWN, UP = ".lora_A.weight", ".lora_B.weight"  # of a layer, in files
Network = TypeVar("Network", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]  # of layers' weights, by their names


@dataclass(frozen=True)
class Change:
    """The change of one layer by a LoRA."""

    down: Tensor  # (rank, in), or (rank, in, k, k)
    up: Tensor  # (out, rank), or (out, rank, 1, 1)
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it changes."""
        return (len(self.up), *self.down.shape[1:])

    def whole(self) -> Tensor:
        """What is added to the weight at strength 1."""
        return self.scale * (self.up.flatten(1).float() @ self.down.flatten(1).float()).view(self.shape)

    def of(self, layer: Any, x: Tensor) -> Tensor:
        """What is added to what the layer makes of `x` at strength 1."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)
        if isinstance(layer, nn.Conv2d):
            return self.scale * F.conv2d(F.conv2d(x, down, None, layer.stride, layer.padding), up)
        return self.scale * F.linear(F.linear(x, down), up)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Change":
        """The same, elsewhere."""
        return replace(self, down=self.down.to(device, dtype), up=self.up.to(device, dtype))


@dataclass(frozen=True)
class Kronecker:
    """The change of one matrix by a LoKr."""

    left: Tensor  # (a, c), and the weight is (a b, c d)
    right: Tensor  # (b, d)
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it changes."""
        (a, c), (b, d) = self.left.shape, self.right.shape
        return a * b, c * d

    def whole(self) -> Tensor:
        """What is added to the weight at strength 1."""
        return self.scale * torch.kron(self.left.float(), self.right.float())

    def of(self, layer: Any, x: Tensor) -> Tensor:
        """What is added to what the layer makes of `x` (…, c d) at strength 1, (…, a b)."""
        left, right = self.left.to(x.dtype), self.right.to(x.dtype)
        pieces = x.unflatten(-1, (left.shape[1], right.shape[1]))
        return self.scale * (left @ F.linear(pieces, right)).flatten(-2)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Kronecker":
        """The same, elsewhere."""
        return replace(self, left=self.left.to(device, dtype), right=self.right.to(device, dtype))


Changes = Mapping[str, Change | Kronecker]  # by the layer's name


class Style(NamedTuple):
    """Changes that are worn as one."""

    name: str  # that no others have
    changes: Changes
    strength: float


def adapted(network: Network, changes: Sequence[tuple[Changes, float]]) -> Network:
    """A network that carries changes, each at its strength. It shares every other weight with `network`,
    which stays as it is."""
    other = twin(network)
    for name in {name for layers, _ in changes for name in layers}:
        layer: Any = other.get_submodule(name)
        added = sum(strength * layers[name].whole() for layers, strength in changes if name in layers)
        layer.weight = nn.Parameter(
            (layer.weight.float() + added).to(layer.weight.dtype), requires_grad=False
        )
    return other


def twin(network: Network) -> Network:
    """Another network with the very weights of this one."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, shared)


def hook_of(changes: Sequence[tuple[Change | Kronecker, float]]) -> Any:
    """What lets a layer act as if it carried changes, each at its strength, as a forward hook."""

    def hook(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        for change, strength in changes:
            out = out + strength * change.of(layer, given[0])
        return out

    return hook


def beside(network: nn.Module, names: Iterable[str], rank: int) -> dict[str, nn.Parameter]:
    """Parameters for `network` to learn beside its layers, which change nothing at first and are always the
    same, by the names that they have in files."""
    generator = torch.Generator().manual_seed(0)
    parameters: dict[str, nn.Parameter] = {}
    sizes, device = shapes(network), next(network.parameters()).device  # some layers may lie elsewhere
    for name in names:
        out, *rest = sizes[name]
        start = torch.randn(rank, *rest, generator=generator) * math.prod(rest) ** -0.5
        down = nn.Parameter(start.to(device))
        up = nn.Parameter(torch.zeros(out, rank, *[1] * (len(rest) - 1), device=device))
        network.get_submodule(name).register_forward_hook(hook_of([(Change(down, up), 1.0)]))
        parameters |= {name + DOWN: down, name + UP: up}
    return parameters


def changes_of(parameters: Mapping[str, nn.Parameter]) -> dict[str, Change]:
    """What such parameters have come to, by layer."""
    names = [name.removesuffix(DOWN) for name in parameters if name.endswith(DOWN)]
    return {name: Change(parameters[name + DOWN].detach(), parameters[name + UP].detach()) for name in names}


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of the weights that may be changed, by their layers' names."""
    found: dict[str, tuple[int, ...]] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear):
            found[name] = (layer.out_features, layer.in_features)
        elif isinstance(layer, nn.Conv2d):
            found[name] = tuple(layer.weight.shape)
    return found


def fitted(changes: Changes, shapes: Shapes) -> dict[str, Change | Kronecker]:
    """The changes by the names of a network's own layers, whose weights have these shapes; raises StyleError
    naming a layer that it has not, or that is of another shape, and what is needed."""
    names = {
        alias: name
        for name in shapes
        for known in (name, krea_name(name))
        for alias in (known, known.replace(".", "_"))
    }
    fit: dict[str, Change | Kronecker] = {}
    for name, change in changes.items():
        layer = names.get(name)
        if layer is None or change.shape != shapes[layer]:
            size = " × ".join(map(str, change.shape))
            needed = (
                f"its {layer!r} is {' × '.join(map(str, shapes[layer]))}" if layer else "it has no such layer"
            )
            raise StyleError(
                f"The LoRA is for another model: it changes {name!r} ({size}) among {len(changes)} layers. "
                f"Of the model here, {needed}; LoRAs for it change layers such as {max(shapes)!r}. Set "
                "EASEL_MODELS to the model that it was made for (nano or krea), or train one with `easel "
                "style train`"
            )
        if layer in fit:
            raise StyleError(f"The LoRA changes {layer!r} twice, also as {name!r}: export it again")
        fit[layer] = change
    return fit
