"""Files of LoRAs, in the forms that trainers in use write, and in the one that easel writes.

lora_A and lora_B (PEFT, diffusers, ai-toolkit), lora_down and lora_up (kohya, musubi), lokr_w1 and lokr_w2
(LyCORIS, ai-toolkit), with or without alpha; layers by diffusers' names or by those of Krea's own code.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from easel.errors import StyleError
from easel.model.lora import Change, Changes, Kronecker

PARTS = ("transformer", "decoder")  # of a model, that may be changed; without a name it is the first
PREFIXES = ("base_model.model.", "model.diffusion_model.", "diffusion_model.", "lora_unet_", "lycoris_")
OWN = ("look.", "palette.", "code")  # what easel keeps beside a LoRA
KEY = re.compile(
    r"(.+)\.(?:(lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.weight|(lokr_w[12](?:_[ab])?)|(alpha))"
)
WAYS = {"lora_A": "down", "lora_B": "up", "lora_down": "down", "lora_up": "up"}
PEFT = "lora_adapter_metadata"  # where diffusers keeps PEFT's ranks and alphas, as JSON


class File(NamedTuple):
    """What a file of adapters holds."""

    changes: dict[str, Changes]  # by the part of the model
    others: dict[str, Tensor]
    metadata: dict[str, str]


def read(data: bytes) -> File:
    """What safetensors hold; raises StyleError if that is no LoRA, or not all of it is understood."""
    try:
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        said = json.loads(metadata.get(PEFT, "{}"))
    except (SafetensorError, ValueError) as error:
        raise StyleError(
            f"The file is no safetensors file ({error}): export the LoRA as .safetensors"
        ) from error
    found: dict[str, dict[str, Tensor]] = {}
    others = {}
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise StyleError(f"The file's {key!r} holds what is no number: train the LoRA again, more slowly")
        if (match := KEY.fullmatch(key)) and not (match[4] and tensor.numel() != 1):
            name, half, lokr, alpha = match.groups()
            found.setdefault(name, {})[WAYS.get(half) or lokr or alpha] = tensor.float()
        else:
            others[key] = tensor
    if not any(ways.keys() - {"alpha"} for ways in found.values()):
        raise StyleError(
            f"The file holds no LoRA: none of its {len(tensors)} tensors is called lora_A, lora_down or "
            "lokr_w1"
        )
    if strange := sorted(key for key in others if not key.startswith(OWN)):
        raise StyleError(
            f"The LoRA is of a kind that is not read here: {strange[0]!r} and {len(strange) - 1} more of its "
            "tensors are no part of a plain LoRA or LoKr: export it, or train it, without them"
        )
    changes: dict[str, dict[str, Change | Kronecker]] = {}
    for name, ways in found.items():
        part, layer = _placed(name)
        if layer in changes.setdefault(part, {}):
            raise StyleError(f"The LoRA changes {layer!r} twice, also as {name!r}: export it again")
        changes[part][layer] = _lokr(name, ways) if "down" not in ways else _lora(name, ways, said)
    return File(dict(changes), others, metadata)


def _placed(name: str) -> tuple[str, str]:
    """The part of the model that a layer belongs to, and its name there."""
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    part, _, layer = name.partition(".")
    return (part, layer) if part in PARTS else ("transformer", name)


def _lora(name: str, ways: Mapping[str, Tensor], said: Mapping[str, Any]) -> Change:
    if ways.keys() - {"alpha"} != {"down", "up"} or len(ways["down"]) != ways["up"][:1].numel():
        raise _broken(name)
    rank = len(ways["down"])
    scale = ways["alpha"].item() / rank if "alpha" in ways else _scale(said, *_placed(name), rank)
    return Change(ways["down"], ways["up"], scale)


def _lokr(name: str, ways: Mapping[str, Tensor]) -> Kronecker:
    """Either matrix may itself be a product; alpha counts where one is, and is divided by the rank."""
    matrices, rank = [], None
    for one in ("lokr_w1", "lokr_w2"):
        halves = [ways.get(f"{one}_{half}") for half in "ab"]
        whole = ways.get(one)
        if whole is None:
            first, second = halves
            if first is None or second is None or first.shape[1:] != second.shape[:1]:
                raise _broken(name)
            whole, rank = first @ second, len(second)
        elif halves != [None, None]:
            raise _broken(name)
        matrices.append(whole)
    left, right = matrices
    if left.ndim != 2 or right.ndim != 2:
        raise _broken(name)
    return Kronecker(left, right, ways["alpha"].item() / rank if rank and "alpha" in ways else 1.0)


def _broken(name: str) -> StyleError:
    return StyleError(f"The layer {name!r} lacks a half, or its halves do not fit: export the LoRA again")


def _scale(said: Mapping[str, Any], part: str, layer: str, rank: int) -> float:
    """What PEFT makes of the alpha that diffusers' files tell; without one, 1."""
    told = {key.removeprefix(f"{part}."): value for key, value in said.items()}
    alpha = told.get("lora_alpha", rank)
    for pattern, own in (told.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", layer):
            alpha = own
            break
    return float(alpha) / (rank**0.5 if told.get("use_rslora") else rank)


def written(
    changes: Mapping[str, Mapping[str, Change]], others: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> bytes:
    """Safetensors in the form of PEFT and diffusers; a scale other than 1 is multiplied in."""
    tensors = {name: tensor.contiguous() for name, tensor in others.items()}
    for part, layers in changes.items():
        for name, change in layers.items():
            tensors[f"{part}.{name}.lora_A.weight"] = change.down.contiguous()
            tensors[f"{part}.{name}.lora_B.weight"] = (change.scale * change.up).contiguous()
    return save(tensors, dict(metadata))
