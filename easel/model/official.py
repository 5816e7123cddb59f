"""Krea 2's transformer as one file, by the names of Krea's own repository: to diffusers' names and
configuration.

ComfyUI's files have the same names behind a prefix; in those of eight bits, `X.weight_scale` stands beside
`X.weight`.
"""

import re
from collections.abc import Mapping
from typing import Any

from easel.errors import CheckpointError
from easel.model.files import Stored

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
MARKS = ("comfy_quant", "input_scale", "scale_input", "scaled_fp8")  # say how activations were to be rounded
UNUSED = re.compile(r"last\.(up|down)\.")  # in the files, in no forward
RENAMED = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^first\.", "img_in."),
        (r"^tmlp\.0\.", "time_embed.linear_1."),
        (r"^tmlp\.2\.", "time_embed.linear_2."),
        (r"^tproj\.1\.", "time_mod_proj."),
        (r"^txtmlp\.0\.scale$", "txt_in.norm.weight"),
        (r"^txtmlp\.1\.", "txt_in.linear_1."),
        (r"^txtmlp\.3\.", "txt_in.linear_2."),
        (r"^txtfusion\.", "text_fusion."),
        (r"^blocks\.", "transformer_blocks."),
        (r"^last\.linear\.", "final_layer.linear."),
        (r"^last\.norm\.scale$", "final_layer.norm.weight"),
        (r"^last\.modulation\.lin$", "final_layer.scale_shift_table"),
        (r"\.mod\.lin$", ".scale_shift_table"),
        (r"\.attn\.w([qkv])\.", r".attn.to_\1."),
        (r"\.attn\.wo\.", ".attn.to_out.0."),
        (r"\.attn\.gate\.", ".attn.to_gate."),
        (r"\.attn\.qknorm\.([qk])norm\.scale$", r".attn.norm_\1.weight"),
        (r"\.mlp\.", ".ff."),
        (r"\.prenorm\.scale$", ".norm1.weight"),
        (r"\.postnorm\.scale$", ".norm2.weight"),
        (r"\.scale_weight$", ".weight_scale"),
    )
]

LAYERS = [
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^img_in$", "first"),
        (r"^time_embed\.linear_1$", "tmlp.0"),
        (r"^time_embed\.linear_2$", "tmlp.2"),
        (r"^time_mod_proj$", "tproj.1"),
        (r"^txt_in\.linear_1$", "txtmlp.1"),
        (r"^txt_in\.linear_2$", "txtmlp.3"),
        (r"^final_layer\.linear$", "last.linear"),
        (r"^text_fusion\.", "txtfusion."),
        (r"^transformer_blocks\.", "blocks."),
        (r"\.attn\.to_([qkv])$", r".attn.w\1"),
        (r"\.attn\.to_out\.0$", ".attn.wo"),
        (r"\.attn\.to_gate$", ".attn.gate"),
        (r"\.ff\.", ".mlp."),
    )
]


def by_diffusers_names(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """The transformer's weights by diffusers' names; what a file holds beside them is left out."""
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in stored)), "")
    bare = {name.removeprefix(prefix): one for name, one in stored.items() if name.startswith(prefix)}
    return {
        diffusers_name(name): one
        for name, one in bare.items()
        if not name.endswith(MARKS) and not UNUSED.match(name)
    }


def diffusers_name(name: str) -> str:
    """What diffusers calls the weight that Krea's repository calls `name`."""
    for pattern, renamed in RENAMED:
        name = pattern.sub(renamed, name)
    return name


def krea_name(layer: str) -> str:
    """What Krea's repository calls the layer that diffusers calls `layer`."""
    for pattern, renamed in LAYERS:
        layer = pattern.sub(renamed, layer)
    return layer


def configuration(stored: Mapping[str, Stored]) -> dict[str, Any]:
    """The configuration of the transformer whose weights, by diffusers' names, have these shapes.

    Raises CheckpointError if they are another network's.
    """

    def rows(name: str) -> int:
        return stored[name].shape[0]

    def count(group: str) -> int:
        return len({name.split(".")[group.count(".") + 1] for name in stored if name.startswith(f"{group}.")})

    block, fusion = "transformer_blocks.0.attn", "text_fusion.refiner_blocks.0"
    try:
        head, text_head = rows(f"{block}.norm_q.weight"), rows(f"{fusion}.attn.norm_q.weight")
        return {
            "in_channels": stored["img_in.weight"].shape[1],
            "num_layers": count("transformer_blocks"),
            "attention_head_dim": head,
            "num_attention_heads": rows(f"{block}.to_q.weight") // head,
            "num_key_value_heads": rows(f"{block}.to_k.weight") // head,
            "intermediate_size": rows("transformer_blocks.0.ff.gate.weight"),
            "timestep_embed_dim": stored["time_embed.linear_1.weight"].shape[1],
            "text_hidden_dim": stored["txt_in.linear_1.weight"].shape[1],
            "num_text_layers": stored["text_fusion.projector.weight"].shape[-1],
            "text_num_attention_heads": rows(f"{fusion}.attn.to_q.weight") // text_head,
            "text_num_key_value_heads": rows(f"{fusion}.attn.to_k.weight") // text_head,
            "text_intermediate_size": rows(f"{fusion}.ff.gate.weight"),
            "num_layerwise_text_blocks": count("text_fusion.layerwise_blocks"),
            "num_refiner_text_blocks": count("text_fusion.refiner_blocks"),
            "axes_dims_rope": (head - 12 * (head // 16), 6 * (head // 16), 6 * (head // 16)),
        }
    except (KeyError, IndexError) as error:
        raise CheckpointError(f"it is no Krea 2 transformer: it lacks {error}") from None
