"""Checks and loads Krea's open weights: transformer, text encoder and autoencoder of Krea-2-Turbo or -Raw.

A checkpoint is a folder in the hub's layout, or one safetensors file that holds the transformer alone:

model_index.json            which layers of the text encoder are heard; whether the transformer is distilled
transformer/                config.json, diffusion_pytorch_model*.safetensors
text_encoder/ tokenizer/    Qwen3-VL-4B and its words
vae/                        the autoencoder of Qwen-Image

Networks are built without memory, and their weights read straight to the device, in the precision they come
in: eight bits stay eight bits, half stays half; norms are kept in float32, as diffusers keeps them.
"""

import copy
import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLQwenImage, Krea2Transformer2DModel
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoTokenizer, Qwen3VLConfig, Qwen3VLModel

from easel.catalog import Weights
from easel.errors import CheckpointError, StyleError
from easel.model import eight_bits, four_bits, lora, lora_files
from easel.model.eight_bits import EIGHT, Linear8
from easel.model.files import Stored, read_json, stored_in
from easel.model.four_bits import Linear4
from easel.model.lora import Changes
from easel.model.official import by_diffusers_names, configuration
from easel.model.prompts import TAPS, PromptEncoder
from easel.model.wiring import wiring

Precision = Literal["bf16", "fp8", "nf4"]
KEPT_BY: Mapping[Precision, Callable[[int, int], nn.Linear]] = {
    "bf16": partial(nn.Linear, bias=False),
    "fp8": Linear8,
    "nf4": Linear4,
}
FOUR = torch.uint8  # two weights of four bits
KNOWN = ("F32", "BF16", "F16")  # what weights may be, beside eight bits with at most one scale a matrix
WORKING_BYTES = 2e9  # what a 1K picture takes beside the weights: 1.5 GB by count, and a third for the rest
CONTEXT_BYTES = 8e9  # the same with references in its own sequence: 6.5 GB by count, a LoRA among them


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
        count = self.weights[name].numel
        if self._kept(name) == FOUR:
            return count // 2 + 4 * count // four_bits.RUN
        return count * self._kept(name).itemsize

    def load(self, device: torch.device, behind: Container[str] = ()) -> Any:
        """The network with its weights on `device`, ready for inference; those named `behind` stay in the
        machine's own memory."""
        network = copy.deepcopy(self.network)  # still without memory: it can be loaded again
        state: dict[str, Tensor] = {}
        for file in {one.file for one in self.weights.values()}:
            with safe_open(file, "pt", device=str(device)) as opened:
                for name in (n for n, one in self.weights.items() if one.file == file):
                    read = self._read(name, opened.get_tensor)
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
        kinds = {type(self.network.get_submodule(name.removesuffix(".weight"))) for name in self.matrices()}
        return "nf4" if Linear4 in kinds else "fp8" if Linear8 in kinds else str(self.dtype).split(".")[1]

    def in_precision(self, precision: Precision) -> "Part":
        """The same transformer with the matrices of its blocks kept so. Of a file with eight bits, those that
        are in more stay so."""
        names = self.matrices()
        in_eight = [name for name in names if self.weights[name].dtype == "F8_E4M3"]
        return self._made_of(KEPT_BY[precision], in_eight if precision == "fp8" and in_eight else names)

    def _made_of(self, kind: Callable[[int, int], nn.Linear], names: Sequence[str]) -> "Part":
        network = copy.deepcopy(self.network)
        for path in (name.removesuffix(".weight") for name in names):
            layer: Any = network.get_submodule(path)
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
        weight, kept = get(self.weights[name].name), self._kept(name)
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
        path = name.split(".")
        if path[-2] in (getattr(self.network, "_keep_in_fp32_modules", None) or ()):
            return torch.float32
        module = self.network.get_submodule(".".join(path[:-1]))
        return {Linear8: EIGHT, Linear4: FOUR}.get(type(module), self.dtype)


def transformer_at(place: Path) -> Part:
    """The transformer of the checkpoint folder or in the file `place`; raises CheckpointError."""
    folder = place / "transformer"
    try:
        if place.is_dir():
            stored = stored_in(folder)
            config = _config(folder, "Krea2Transformer2DModel")
        else:
            stored = by_diffusers_names(stored_in(place))
            config = configuration(stored)
        with init_empty_weights():
            network = Krea2Transformer2DModel.from_config(config)
        return part(network, stored)
    except CheckpointError as error:
        raise CheckpointError(f"the transformer at {str(place)!r} cannot be used: {error}") from None


def autoencoder_at(folder: Path) -> Part:
    """The autoencoder of the checkpoint `folder`; raises CheckpointError."""
    try:
        config = _config(folder / "vae", "AutoencoderKLQwenImage")
        with init_empty_weights():
            network = AutoencoderKLQwenImage.from_config(config)
        return part(network, stored_in(folder / "vae"))
    except CheckpointError as error:
        raise CheckpointError(f"the autoencoder at {str(folder)!r} cannot be used: {error}") from None


def text_encoder_at(folder: Path) -> Part:
    """The text encoder of the checkpoint `folder`, its vision tower included; raises CheckpointError."""
    try:
        told = read_json(folder / "text_encoder" / "config.json")
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
        return part(network, stored)
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


def _config(folder: Path, kind: str) -> dict[str, Any]:
    """What the network's configuration says, if it is one of the class `kind`."""
    config = read_json(folder / "config.json")
    if config.get("_class_name") != kind:
        raise CheckpointError(f"it is a {config.get('_class_name')!r}, not a {kind!r}")
    return config


def part(network: nn.Module, stored: Mapping[str, Stored]) -> Part:
    """`network` and the weights meant for it, which must be all of its own, and no others."""
    scales = {
        name.removesuffix("_scale"): one for name, one in stored.items() if name.endswith(".weight_scale")
    }
    weights = {name: one for name, one in stored.items() if not name.endswith(".weight_scale")}
    _same(network.state_dict(), weights)
    for name, one in weights.items():
        eight = one.dtype == "F8_E4M3" and (name not in scales or scales[name].numel == 1)
        if one.dtype not in KNOWN and not eight:
            raise CheckpointError(
                f"{one.name!r} is kept as {one.dtype}: take a file in BF16, or in eight bits with one scale "
                "a matrix (fp8_scaled)"
            )
    plain = all(one.dtype == "F32" for one in weights.values())
    made = Part(network, weights, scales, torch.float32 if plain else torch.bfloat16)
    eight = any(weights[name].dtype == "F8_E4M3" for name in made.matrices())
    return made.in_precision("fp8") if eight else made  # as it is stored


def _same(expected: Mapping[str, Tensor], weights: Mapping[str, Stored]) -> None:
    """Raise CheckpointError unless these are the weights that the network expects."""
    if missing := sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"it lacks {missing[0]!r} and {len(missing) - 1} more weights: fetch it again")
    if strange := sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"it is another network's: it holds {strange[0]!r} and {len(strange) - 1} more")
    for name, one in weights.items():
        shape = tuple(expected[name].shape)
        flat = name.endswith("scale_shift_table") and math.prod(shape) == one.numel
        if one.shape != shape and not flat:
            raise CheckpointError(f"it is another network's: {one.name!r} is {one.shape}, not {shape}")


def _put(network: nn.Module, path: str, what: Any) -> None:
    """Put a layer or buffer in the place of the one of this path."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, what)


def style_lora_at(file: Path, transformer: nn.Module) -> Changes:
    """What the LoRA in `file` changes of the transformer; raises CheckpointError."""
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
    return Plan(checked, text_encoder_at(parts), autoencoder_at(parts), parts, in_context)


def _check_distilled(weights: Weights, place: Path) -> None:
    index = place / "model_index.json"
    told = read_json(index).get("is_distilled") if index.is_file() else None
    if told is not None and told != (weights == "turbo"):
        raise CheckpointError(
            f"{str(place)!r} is {'Turbo' if told else 'Raw'}: EASEL_KREA_{weights.upper()} must not name it"
        )
