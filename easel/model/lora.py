"""LoRA: low-rank changes of a network's layers, their files, and networks that carry them.

A matrix W (out, in) becomes W + scale · up · down, with down (rank, in) and up (out, rank); a convolution's
kernels are matrices of which the rows are flattened (Hu et al. 2021, arXiv 2106.09685).
"""

import copy
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from easel.errors import StyleError

PARTS = ("transformer", "decoder")  # of a model, that may be changed; without a name it is the first
PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "lora_unet_")
WAYS = {"lora_A": "down", "lora_B": "up", "lora_down": "down", "lora_up": "up"}
KEY = re.compile(r"(.+)\.(lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.weight")
PEFT = "lora_adapter_metadata"  # where diffusers keeps PEFT's ranks and alphas, as JSON

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Change:
    """The change of one layer."""

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


Changes = Mapping[str, Change]  # by the layer's name


def adapted(network: Network, changes: Sequence[tuple[Changes, float]]) -> Network:
    """A network that carries changes, each at its strength. It shares every other weight with `network`,
    which stays as it is."""
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    other = copy.deepcopy(network, shared)
    for name in {name for layers, _ in changes for name in layers}:
        layer: Any = other.get_submodule(name)
        added = sum(strength * layers[name].whole() for layers, strength in changes if name in layers)
        layer.weight = nn.Parameter(
            (layer.weight.float() + added).to(layer.weight.dtype), requires_grad=False
        )
    return other


def beside(network: nn.Module, names: Iterable[str], rank: int) -> dict[str, nn.Parameter]:
    """Parameters for `network` to learn beside its layers, which change nothing at first, by the names that
    they have in files."""
    parameters: dict[str, nn.Parameter] = {}
    for name in names:
        layer: Any = network.get_submodule(name)
        out, *rest = layer.weight.shape
        down = nn.Parameter(torch.randn(rank, *rest) * layer.weight[0].numel() ** -0.5)
        up = nn.Parameter(torch.zeros(out, rank, *[1] * (len(rest) - 1)))
        layer.register_forward_hook(_added(down, up))
        parameters |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return parameters


def _added(down: Tensor, up: Tensor) -> Any:
    def hook(layer: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> Tensor:
        if isinstance(layer, nn.Conv2d):
            return out + F.conv2d(F.conv2d(given[0], down, None, layer.stride, layer.padding), up)
        return out + F.linear(F.linear(given[0], down), up)

    return hook


class File(NamedTuple):
    """What a file of adapters holds."""

    changes: dict[str, Changes]  # by the part of the model
    others: dict[str, Tensor]
    metadata: dict[str, str]


def read(data: bytes) -> File:
    """What safetensors hold, in the forms that trainers in use write: lora_A and lora_B (PEFT, diffusers) or
    lora_down and lora_up (kohya), with or without alpha; raises StyleError if there is no LoRA in it."""
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    except (SafetensorError, ValueError) as error:
        raise StyleError(
            f"The file is no safetensors file ({error}): export the LoRA as .safetensors"
        ) from error
    found: dict[str, dict[str, Tensor]] = {}
    others = {}
    for key, tensor in tensors.items():
        if match := KEY.fullmatch(key):
            found.setdefault(match[1], {})[WAYS[match[2]]] = tensor.float()
        elif not key.endswith(".alpha"):
            others[key] = tensor
    if not found:
        raise StyleError(
            f"The file holds no LoRA: none of its {len(tensors)} tensors is called lora_A or lora_down"
        )
    changes: dict[str, dict[str, Change]] = {}
    for name, ways in found.items():
        if ways.keys() != {"down", "up"} or len(ways["down"]) != ways["up"][:1].numel():
            raise StyleError(
                f"The layer {name!r} lacks a half, or its halves do not fit: export the LoRA again"
            )
        rank = len(ways["down"])
        part, layer = _placed(name)
        alpha = tensors.get(f"{name}.alpha")
        scale = _alpha(metadata, part, rank) if alpha is None else alpha.item()
        changes.setdefault(part, {})[layer] = Change(**ways, scale=scale / rank)
    return File(dict(changes), others, metadata)


def _placed(name: str) -> tuple[str, str]:
    """The part of the model that a layer belongs to, and its name there."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    part, _, layer = name.partition(".")
    return (part, layer) if part in PARTS else ("transformer", name)


def _alpha(metadata: Mapping[str, str], part: str, rank: int) -> float:
    """What diffusers' files say of PEFT's alpha; without it, that of a scale of 1."""
    said = json.loads(metadata.get(PEFT, "{}"))
    return float(said.get(f"{part}.lora_alpha", said.get("lora_alpha", rank)))


def fitted(changes: Changes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Change]:
    """The changes by the names of a network's own layers, whose weights have these shapes; raises StyleError
    naming a layer that it has not, or that is of another shape, and what is needed."""
    names = {alias: name for name in shapes for alias in (name, name.replace(".", "_"), krea_name(name))}
    fit = {}
    for name, change in changes.items():
        layer = names.get(name)
        if layer is None or change.shape != shapes[layer]:
            size = " × ".join(map(str, change.shape))
            needed = (
                f"its {layer!r} is {' × '.join(map(str, shapes[layer]))}" if layer else "it has no such layer"
            )
            known = max(shapes)
            raise StyleError(
                f"The LoRA is for another model: it changes {name!r} ({size}) among {len(changes)} layers."
                f" This one is a Krea2Transformer2DModel of nano's size: {needed}; LoRAs for it change"
                f" layers such as {known!r}. Train one with `easel style train`"
            )
        fit[layer] = change
    return fit


def krea_name(layer: str) -> str:
    """What Krea's own code calls a layer of diffusers' class."""
    layer = re.sub(r"^transformer_blocks\b", "blocks", layer).replace("text_fusion.", "txtfusion.")
    layer = re.sub(r"\.to_out\.0$", ".wo", layer)
    layer = re.sub(r"\.to_([qkv])$", r".w\1", layer).replace(".to_gate", ".gate")
    return layer.replace(".ff.", ".mlp.")


def written(
    changes: Mapping[str, Changes], others: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> bytes:
    """Safetensors in the form of PEFT and diffusers; a scale other than 1 is multiplied in."""
    tensors = {name: tensor.contiguous() for name, tensor in others.items()}
    for part, layers in changes.items():
        for name, change in layers.items():
            tensors[f"{part}.{name}.lora_A.weight"] = change.down.contiguous()
            tensors[f"{part}.{name}.lora_B.weight"] = (change.scale * change.up).contiguous()
    return save(tensors, dict(metadata))
