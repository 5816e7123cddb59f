"""Makes a painter of Krea's weights ready before the first job comes: the fastest ways of this device."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog
import torch
from PIL import Image

from easel.catalog import Weights
from easel.model import kernels
from easel.model.backend import PLAIN, Backend, compiled
from easel.model.block import MATRICES
from easel.model.lora import Change, Style

if TYPE_CHECKING:
    from easel.engine.krea import KreaEngine
    from easel.engine.transformers import Transformers

log = structlog.get_logger()

SIDE = 256  # pixels a side of what is painted to warm up


def fastest(network: Any, dtype: torch.dtype, device: torch.device, compiles: bool) -> Backend:
    """The fastest backend for this network in this precision; on a processor the plain one."""
    if device.type != "cuda":
        return PLAIN
    backend = compiled() if compiles else PLAIN
    if dtype != torch.bfloat16:
        return backend
    with torch.cuda.device(device):
        ways = kernels.chosen(network, device)
    log.info("Attention", **{role: name for role, (name, _) in ways.items()})
    found = {role: way for role, (_, way) in ways.items()}
    return replace(backend, attend=found["attend"], attend_at=found["attend_at"], telling=found["telling"])


def warm(engine: "KreaEngine", transformers: "Transformers", weights: Weights, in_context: bool) -> None:
    """Paint two steps small in all ways that have graphs of their own, so that no job waits for a compiler:
    without and with references, without and with a style, with something avoided, and with references
    `in_context` where they are read so. Where that fails, the blocks are left uncompiled."""
    from easel.engine.krea import Conditioning

    references = [(Image.new("RGB", (SIDE, SIDE)), 0.5)] * 2
    styles = [nothing(transformers.take(weights))]
    small = Conditioning("a fox", "", SIDE, SIDE, 0, weights, 2, 0.0)
    ways: list[dict[str, Any]] = [
        {},
        {"looks": references},
        {"styles": styles},
        {"looks": references, "styles": styles, "negative": "fog"},
        *([{"context": references, "styles": styles}] if in_context else []),
    ]
    try:
        for way in ways:
            engine.paint(replace(small, **way), lambda step: None)
    except torch._dynamo.exc.TorchDynamoException as error:
        log.warning("Not compiled (EASEL_COMPILE=off does not try)", error=str(error).partition("\n")[0])
        transformers.compute_by(transformers.backend.compiled_as(PLAIN))


def nothing(transformer: Any) -> Style:
    """A style that changes nothing."""
    name = f"transformer_blocks.0.{MATRICES[0]}"
    layer = transformer.get_submodule(name)
    kind = transformer.img_in.weight
    down, up = kind.new_zeros(1, layer.in_features), kind.new_zeros(layer.out_features, 1)
    return Style("nothing", {name: Change(down, up)}, 1.0)
