"""Krea 2 in miniature: checkpoints of the true classes with random weights, in the hub's folder layout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
)
from diffusers.utils import logging
from PIL import Image
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from tokenizers.decoders import ByteLevel
from torch import Tensor, nn
from transformers import Qwen2TokenizerFast, Qwen3VLConfig, Qwen3VLModel

from easel.model.block import Rotary
from easel.model.eight_bits import Linear8, is_able, rounded
from easel.model.prompts import PREFIX, SUFFIX
from easel.model.transformer import grid

TRANSFORMER = {
    "in_channels": 16,
    "num_layers": 3,
    "attention_head_dim": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 64,
    "timestep_embed_dim": 32,
    "text_hidden_dim": 32,
    "num_text_layers": 3,
    "text_num_attention_heads": 2,
    "text_num_key_value_heads": 2,
    "text_intermediate_size": 64,
    "axes_dims_rope": (4, 6, 6),
}
VAE = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "latents_mean": [0.1, -0.2, 0.3, 0.0],
    "latents_std": [1.5, 0.8, 1.1, 2.0],
}
VISION = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 32,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
TRUE_TEXT = {  # Qwen3-VL-4B, of which no weight is made in tests
    "text_config": {
        "vocab_size": 151936,
        "hidden_size": 2560,
        "intermediate_size": 9728,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    },
    "vision_config": {
        "depth": 24,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_heads": 16,
        "out_hidden_size": 2560,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    },
}
TAPS = (1, 2, 4)
LEANING = 0.5  # of answers to their end
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Words as Qwen cuts them: letters with what stands before them, single digits, marks, line ends, spaces.
WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def save(folder: Path, distilled: bool, seed: int = 0) -> Path:
    """A whole checkpoint in `folder`: Turbo where it is `distilled`, else Raw; 1 MB, in a second."""
    logging.set_verbosity_error()
    torch.manual_seed(seed)
    made = tokenizer()
    Krea2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
        vae=AutoencoderKLQwenImage(**VAE),
        text_encoder=text_encoder(made),
        tokenizer=made,
        transformer=shaken(Krea2Transformer2DModel(**TRANSFORMER)),
        text_encoder_select_layers=TAPS,
        is_distilled=distilled,
    ).save_pretrained(folder)
    return folder


def rotary(network: Krea2Transformer2DModel, rows: int, columns: int, *beside: Tensor) -> Rotary:
    """How the tokens of a picture are turned, and behind them those at further positions (R, 3)."""
    positions = grid(rows, columns).to(network.img_in.weight.device)
    return network.rotary_emb(torch.cat([positions, *beside]))


def tokenizer() -> Qwen2TokenizerFast:
    """Byte pairs that know the words of the prompt's template and no others, and Qwen's special tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    made.decoder = ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([PREFIX, SUFFIX], trainer)
    return Qwen2TokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
    )


def text_encoder(known: Qwen2TokenizerFast) -> Qwen3VLModel:
    """Four layers of Qwen3-VL that hear the words of `known`, with a vision tower of two."""
    text = {
        "vocab_size": len(known),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=VISION,
        tie_word_embeddings=True,
        **marks(known),
    )
    return terse(shaken(Qwen3VLModel(config)), known.convert_tokens_to_ids("<|im_end|>"))


def marks(known: Qwen2TokenizerFast) -> dict[str, int]:
    """What Qwen3-VL must be told of a tokenizer's special tokens."""
    named = {
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
    }
    return {name: known.convert_tokens_to_ids(token) for name, token in named.items()}


@torch.inference_mode()
def terse(network: Any, end: int) -> Any:
    """The network with a leaning to end what it says, so that an answer has some ten tokens."""
    words = torch.arange(len(network.get_input_embeddings().weight))
    states = network(input_ids=words[None], use_cache=False).last_hidden_state[0]
    mean = states.mean(0)
    network.get_input_embeddings().weight[end] += LEANING * mean / mean.norm()
    return network


def shaken(network: Any) -> Any:
    """The network with noise on what starts at 0, so that nothing in it is without effect."""
    for weight in network.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    return network


def save_single_file(folder: Path, file: Path, prefix: str = "", eight_bits: bool = False) -> Path:
    """The transformer of the checkpoint in `folder` as Krea's own repository names its weights; or, with
    `eight_bits`, as ComfyUI keeps them."""
    state = by_krea_names(folder)
    metadata: dict[str, str] = {}
    if eight_bits:
        layers = [
            n for n, w in state.items() if n.startswith("blocks.") and n.endswith("weight") and w.ndim == 2
        ]
        for name in layers:
            state[name], state[f"{name}_scale"] = in_eight_bits(state[name])
        metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0"})
    save_file({prefix + name: weight for name, weight in state.items()}, file, metadata)
    return file


def by_krea_names(folder: Path) -> dict[str, Tensor]:
    """The transformer's weights as Krea's own repository names them."""
    network = Krea2Transformer2DModel.from_pretrained(folder / "transformer")
    state = {official(name): weight.clone() for name, weight in network.state_dict().items()}
    return {name: w.flatten() if name.endswith(".mod.lin") else w for name, w in state.items()}


def save_gguf(
    folder: Path, file: Path, kind: str = "Q8_0", prefix: str = "", architecture: str = "krea2"
) -> Path:
    """The transformer of the checkpoint in `folder` as converters write it: matrices of whole blocks in
    `kind`, others in half precision, what has one dimension, or a single row, in float32."""
    writer, asked = gguf.GGUFWriter(file, architecture), gguf.GGMLQuantizationType[kind]
    for name, weight in by_krea_names(folder).items():
        values = weight.squeeze(0).numpy()
        if values.ndim == 1:
            as_stored = gguf.GGMLQuantizationType.F32
        elif values.shape[1] % gguf.GGML_QUANT_SIZES[asked][0] == 0:
            as_stored = asked
        else:
            as_stored = gguf.GGMLQuantizationType.F16
        writer.add_tensor(prefix + name, gguf.quantize(values, as_stored), raw_dtype=as_stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def save_true_header(
    file: Path, kind_of: Callable[[str, list[int]], gguf.GGMLQuantizationType]
) -> dict[str, tuple[gguf.GGMLQuantizationType, int]]:
    """The header of a GGUF file of the true transformer, behind which its weights belong; of each weight its
    kind and how many numbers it has."""
    writer, kinds = gguf.GGUFWriter(file, "krea2"), {}
    with init_empty_weights():
        state = Krea2Transformer2DModel().state_dict()
    for name, weight in state.items():
        shape = [size for size in weight.shape if size > 1] or [1]
        kinds[name] = kind, count = kind_of(name, shape), weight.numel()
        size, room = gguf.GGML_QUANT_SIZES[kind]
        writer.add_tensor_info(official(name), shape, np.dtype(np.float32), count // size * room, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return kinds


def kept_in_eight_bits(network: Any) -> Any:
    """The network with the matrices of its blocks in eight bits, as half precision is loaded into them; each
    is given up as its successor is made."""
    for parent in list(network.transformer_blocks.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Linear:
                with torch.device("meta"):
                    made = Linear8(layer.in_features, layer.out_features)
                made.weight8, made.weight_scale = rounded(layer.weight.detach())
                made.able = is_able(layer.weight.device)
                setattr(parent, name, made)
    return network


def in_eight_bits(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A matrix in float8 with one scale for all of it."""
    scale = weight.abs().max() / torch.finfo(torch.float8_e4m3fn).max
    return (weight / scale).to(torch.float8_e4m3fn), scale


def official(name: str) -> str:
    """What Krea's own repository calls a weight of diffusers' network."""
    for theirs, own in (
        ("transformer_blocks.", "blocks."),
        ("text_fusion.", "txtfusion."),
        ("img_in.", "first."),
        ("time_embed.linear_1.", "tmlp.0."),
        ("time_embed.linear_2.", "tmlp.2."),
        ("time_mod_proj.", "tproj.1."),
        ("txt_in.norm.weight", "txtmlp.0.scale"),
        ("txt_in.linear_1.", "txtmlp.1."),
        ("txt_in.linear_2.", "txtmlp.3."),
        ("final_layer.linear.", "last.linear."),
        ("final_layer.norm.weight", "last.norm.scale"),
        ("final_layer.scale_shift_table", "last.modulation.lin"),
        (".norm_q.weight", ".qknorm.qnorm.scale"),
        (".norm_k.weight", ".qknorm.knorm.scale"),
        (".norm1.weight", ".prenorm.scale"),
        (".norm2.weight", ".postnorm.scale"),
        (".to_q.", ".wq."),
        (".to_k.", ".wk."),
        (".to_v.", ".wv."),
        (".to_out.0.", ".wo."),
        (".to_gate.", ".gate."),
        (".ff.", ".mlp."),
        (".scale_shift_table", ".mod.lin"),
    ):
        name = name.replace(theirs, own)
    return name


def pictured(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A picture of coloured noise."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)
