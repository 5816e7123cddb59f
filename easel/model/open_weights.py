"""Checks and loads Krea's open weights: transformer, text encoder and autoencoder of Krea-2-Turbo or -Raw.

A checkpoint is a folder in the hub's layout, or one file (safetensors, GGUF) of the transformer alone:

model_index.json            which layers of the text encoder are heard; whether the transformer is distilled
transformer/                config.json, diffusion_pytorch_model*.safetensors
text_encoder/ tokenizer/    Qwen3-VL-4B and its words
vae/                        the autoencoder of Qwen-Image
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLQwenImage, Krea2Transformer2DModel
from torch import nn
from transformers import AutoTokenizer, Qwen3VLConfig, Qwen3VLModel

from easel.catalog import Weights
from easel.errors import CheckpointError, StyleError
from easel.model import lora, lora_files
from easel.model.files import read_json, stored_in
from easel.model.hub import BESIDE
from easel.model.lora import Changes
from easel.model.official import by_diffusers_names, configuration
from easel.model.part import Part, part_of
from easel.model.prompts import TAPS, PromptEncoder
from easel.model.wiring import wiring

WORKING_BYTES = 2e9  # what a 1K picture takes beside the weights: 1.4 GB by count, and .6 for the rest
CONTEXT_BYTES = 8e9  # the same with references in its own sequence: 7 GB by count, a LoRA twice among them


def transformer_at(place: Path) -> Part:
    """The transformer of the checkpoint folder or in the file `place`; raises CheckpointError."""
    try:
        if place.is_dir():
            folder = _folder(place, "transformer")
            stored = stored_in(folder)
            config = _config(folder, "Krea2Transformer2DModel")
        else:
            stored = by_diffusers_names(stored_in(place))
            config = configuration(stored)
        with init_empty_weights():
            network = Krea2Transformer2DModel.from_config(config)
        return part_of(network, stored)
    except CheckpointError as error:
        raise CheckpointError(f"the transformer at {str(place)!r} cannot be used: {error}") from None


def autoencoder_at(folder: Path) -> Part:
    """The autoencoder of the checkpoint `folder`; raises CheckpointError."""
    try:
        config = _config(_folder(folder, "vae"), "AutoencoderKLQwenImage")
        with init_empty_weights():
            network = AutoencoderKLQwenImage.from_config(config)
        return part_of(network, stored_in(folder / "vae"))
    except CheckpointError as error:
        raise CheckpointError(f"the autoencoder at {str(folder)!r} cannot be used: {error}") from None


def text_encoder_at(folder: Path) -> Part:
    """The text encoder of the checkpoint `folder`, its vision tower included; raises CheckpointError."""
    try:
        told = read_json(_folder(folder, "text_encoder") / "config.json")
        stored = {
            name.removeprefix("model."): one for name, one in stored_in(folder / "text_encoder").items()
        }
        with init_empty_weights():
            network = Qwen3VLModel(Qwen3VLConfig(**told))
            network.config.tie_word_embeddings = tied(told)
            if network.config.tie_word_embeddings:
                stored.pop("lm_head.weight", None)  # the embeddings once more
            elif "lm_head.weight" in stored:
                text = network.config.text_config
                network.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        return part_of(network, stored)
    except CheckpointError as error:
        raise CheckpointError(f"the text encoder at {str(folder)!r} cannot be used: {error}") from None


def tied(config: Mapping[str, Any]) -> bool:
    """Whether the embeddings put Qwen3-VL's states into words too; it is so where nothing is said."""
    own = config.get("text_config", {}).get("tie_word_embeddings")
    return config.get("tie_word_embeddings", own) is not False


def load_text(part: Part, folder: Path, device: torch.device) -> PromptEncoder:
    """The text encoder `part`, with the tokenizer of its checkpoint `folder`; raises CheckpointError."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"the tokenizer at {str(folder)!r} cannot be read: {error}") from None
    taps = read_json(folder / "model_index.json").get("text_encoder_select_layers")
    return PromptEncoder(part.load(device), tokenizer, taps or TAPS)


def _folder(place: Path, name: str) -> Path:
    """The folder of this name in a checkpoint; CheckpointError if there is none."""
    folder = place / name
    if not folder.is_dir():
        raise CheckpointError(
            f"there is no folder {name!r} in it: name the folder that holds model_index.json and {name}/, or "
            "fetch it again"
        )
    return folder


def _config(folder: Path, kind: str) -> dict[str, Any]:
    """What the network's configuration says, if it is one of the class `kind`."""
    config = read_json(folder / "config.json")
    if config.get("_class_name") != kind:
        raise CheckpointError(f"it is a {config.get('_class_name')!r}, not a {kind!r}")
    return config


def style_lora_at(file: Path, transformer: nn.Module) -> Changes:
    """What the LoRA in `file` changes of the transformer; raises CheckpointError."""
    if not file.is_file():
        raise CheckpointError(f"there is no file {str(file)!r}: mend EASEL_KREA_STYLE_LORA, or unset it")
    stored_in(file)
    wiring(file)
    try:
        changes = lora_files.read(file.read_bytes()).changes
        return lora.fitted(changes.get("transformer", {}), lora.shapes(transformer))
    except StyleError as error:
        raise CheckpointError(f"the LoRA {str(file)!r} cannot be used: {error.message}") from None


@dataclass(frozen=True)
class Plan:
    """All that a painter loads, checked by what the files say of themselves."""

    transformers: Mapping[Weights, Part]
    text: Part
    vae: Part
    parts: Path  # the folder of the text encoder, the tokenizer and the autoencoder
    in_context: bool = False  # whether references may stand in the picture's own sequence

    @property
    def working(self) -> float:
        """Bytes that a 1K picture takes beside the weights, at most."""
        return CONTEXT_BYTES if self.in_context else WORKING_BYTES

    @property
    def files(self) -> set[Path]:
        """Every file of weights."""
        parts = (*self.transformers.values(), self.text, self.vae)
        return {one.file for part in parts for one in part.weights.values()}


def planned(transformers: Mapping[Weights, Path], parts: Path, in_context: bool = False) -> Plan:
    """What is to be loaded from these places; raises CheckpointError saying what is missing or wrong."""
    if parts.is_file():
        raise CheckpointError(
            f"{str(parts)!r} holds the transformer alone: set EASEL_KREA_PARTS to a folder, or a name on the "
            "hub, with text encoder, tokenizer and autoencoder (krea/Krea-2-Turbo)"
        )
    for weights, place in transformers.items():
        _check_distilled(weights, place)
    checked: dict[Weights, Part] = {weights: transformer_at(place) for weights, place in transformers.items()}
    text, vae = text_encoder_at(parts), autoencoder_at(parts)
    for file in BESIDE:
        read_json(parts / file)
    return Plan(checked, text, vae, parts, in_context)


def _check_distilled(weights: Weights, place: Path) -> None:
    index = place / "model_index.json"
    told = read_json(index).get("is_distilled") if index.is_file() else None
    if told is not None and told != (weights == "turbo"):
        raise CheckpointError(
            f"{str(place)!r} is {'Turbo' if told else 'Raw'}: EASEL_KREA_{weights.upper()} must not name it"
        )
