"""Loads the transformers, autoencoder, text encoder and drawings of one checkpoint folder into one value.

checkpoint.json             {"name": …}
raw/config.json             raw/weights.safetensors: the transformer as trained
turbo/config.json           turbo/weights.safetensors: distilled from it
vae/config.json             vae/weights.safetensors
reader/config.json          reader/weights.safetensors
drawings.zip                drawings.safetensors: an embedding of each drawing's name
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from diffusers import Krea2Transformer2DModel
from safetensors.torch import load_file
from torch import Tensor

from easel.catalog import Weights
from easel.errors import CheckpointError
from easel.model import weights
from easel.model.reader import LookReader
from easel.model.text import TextEncoder
from easel.model.vae import AutoencoderNano

WEIGHTS: tuple[Weights, ...] = get_args(Weights)
NETWORKS = (*WEIGHTS, "vae", "reader")
PARTS = (
    "checkpoint.json",
    *(f"{name}/{file}" for name in NETWORKS for file in ("config.json", "weights.safetensors")),
    "drawings.zip",
    "drawings.safetensors",
)


@dataclass(frozen=True)
class Networks:
    """What paints, ready to run."""

    transformers: Mapping[Weights, Krea2Transformer2DModel]
    vae: AutoencoderNano
    text: TextEncoder


@dataclass(frozen=True)
class Krea2(Networks):
    """The networks of one checkpoint, what reads references, and the drawings that they paint from."""

    name: str  # "nano-1-3f9c…": the checkpoint and the first 12 hex digits of its weights' SHA-256
    reader: LookReader
    drawings: Path
    drawing_keys: list[str]
    drawing_vectors: Tensor  # (drawings, 384), unit length


def load(folder: Path) -> Krea2:
    """Read the checkpoint in `folder`; raises CheckpointError naming what is missing or wrong."""
    for part in PARTS:
        if not (folder / part).is_file():
            raise CheckpointError(
                f"the checkpoint {str(folder)!r} lacks {part!r}: reinstall easel, "
                "or set EASEL_CHECKPOINT to a whole checkpoint"
            )
    try:
        transformers = {name: quick(filled(Krea2Transformer2DModel, folder / name)) for name in WEIGHTS}
        vae = filled(AutoencoderNano, folder / "vae")
        reader = filled(LookReader, folder / "reader")
        drawings = load_file(folder / "drawings.safetensors")
        name = json.loads((folder / "checkpoint.json").read_text())["name"]
    except Exception as error:
        raise CheckpointError(f"the checkpoint {str(folder)!r} cannot be read: {error}") from error
    vectors = torch.nn.functional.normalize(drawings["vectors"].float(), dim=-1)
    return Krea2(
        name=f"{name}-{fingerprint(folder)}",
        transformers=transformers,
        vae=vae.to(memory_format=torch.channels_last),
        reader=reader,
        text=TextEncoder(),
        drawings=folder / "drawings.zip",
        drawing_keys=bytes(drawings["keys"].tolist()).decode().split("\n"),
        drawing_vectors=vectors,
    )


def filled(kind: Any, folder: Path) -> Any:
    """A network of the class `kind` as its config says, with its weights, ready for inference."""
    config = {
        k: v for k, v in json.loads((folder / "config.json").read_text()).items() if not k.startswith("_")
    }
    with torch.device("meta"):
        network = kind(**config)
    network.load_state_dict(weights.load(folder / "weights.safetensors"), strict=True, assign=True)
    return network.eval().requires_grad_(False)


def quick(transformer: Krea2Transformer2DModel) -> Krea2Transformer2DModel:
    """Matrices in bfloat16 where the processor multiplies it natively; the last layer stays in float32."""
    if torch.cpu._is_avx512_bf16_supported():
        for name, module in transformer.named_modules():
            if isinstance(module, torch.nn.Linear) and not name.startswith("final_layer"):
                module.to(torch.bfloat16)
    return transformer


def fingerprint(folder: Path) -> str:
    """The first 12 hex digits of the SHA-256 of all weights."""
    digest = hashlib.sha256()
    for part in PARTS:
        if part.endswith("weights.safetensors"):
            digest.update((folder / part).read_bytes())
    return digest.hexdigest()[:12]
