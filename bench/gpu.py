"""Krea 2 at its true size on one GPU, beside diffusers' own pipeline and the least that arithmetic takes.

    python bench/gpu.py [--toy] [--json FILE]

The weights are drawn by chance, on the device: seconds and bytes are those of the true ones. Each part fails
by itself, and the JSON is written after each. `--toy` runs all of it with tiny networks, on a processor in a
minute.
"""

import argparse
import json
import math
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Krea2Pipeline,
    Krea2Transformer2DModel,
)
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache, Qwen3VLConfig, Qwen3VLModel

from easel.engine import warm
from easel.engine.krea import PATCH, TOKEN, Conditioning, KreaEngine, best_device
from easel.engine.transformers import Transformers
from easel.model import kernels, pixels
from easel.model.attention import attend
from easel.model.backend import PLAIN, Backend
from easel.model.backend import compiled as halves
from easel.model.block import Rotary
from easel.model.eight_bits import multiplied, rounded
from easel.model.following import Following, captured
from easel.model.kernels import seconds
from easel.model.lora import Change, Style
from easel.model.prompts import TAPS, PromptEncoder
from easel.model.sequence import inputs
from easel.model.streaming import Stream, packed
from easel.model.transformer import fuse_text, grid, predict

sys.path.append(str(Path(__file__).parents[1] / "tests"))
import tiny_krea

PROMPT = (
    "a red fox asleep under a bent apple tree at the edge of a village, early morning fog over the fields, "
    "long shadows, a stone wall with moss, one lantern still lit in a window far away, quiet colours"
)
SPOKEN = 8  # tokens that the text encoder says
PROMISED = {  # seconds, GB, and shares of a step
    "bf16 seconds": 1.35,
    "fp8 seconds": 0.95,
    "one reference": 0.15,
    "four references": 0.45,
    "Raw seconds": 16.0,
    "peak GB": 36.0,
}


@dataclass(frozen=True)
class Scale:
    """How large all of it is; the transformer and the autoencoder are the true ones without a word."""

    transformer: dict[str, Any]
    vae: dict[str, Any]
    side: int = 1024
    reference: int = 480
    in_context: int = 1024
    square: int = 8192  # of the matrices whose product is timed
    turbo_steps: int = 8
    raw_steps: int = 52
    rank: int = 64
    repeats: int = 3


FULL = Scale({}, {})
TOY = Scale(tiny_krea.TRANSFORMER, tiny_krea.VAE, 128, 64, 64, 64, 3, 4, 4, 1)


def drawn(build: Callable[[], Any], dtype: torch.dtype, device: torch.device, centre: float) -> Any:
    """A network on the device with weights by chance; those of norms are about `centre`."""
    with init_empty_weights():
        network = build()
    whole = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    state = {}
    for name, weight in network.state_dict().items():
        kept = torch.float32 if whole & set(name.split(".")) else dtype
        noise = torch.randn(weight.shape, dtype=kept, device=device)
        flat = weight.ndim < 2 or weight.shape[1:].numel() == 1
        state[name] = centre + 0.02 * noise if flat else noise * weight.shape[1:].numel() ** -0.5
    network.load_state_dict(state, assign=True)
    return network.to(device).eval().requires_grad_(False)


class Model:
    """The networks, and diffusers' pipeline of the same ones."""

    def __init__(self, scale: Scale, device: torch.device) -> None:
        self.scale, self.device = scale, device
        self.dtype = torch.bfloat16
        self.tokenizer = tiny_krea.tokenizer()
        toy = bool(scale.transformer)
        config = tiny_krea.text_encoder(self.tokenizer).config if toy else self._true_text()
        self.transformer = self._drawn(lambda: Krea2Transformer2DModel(**scale.transformer), 0)
        self.text = self._drawn(lambda: Qwen3VLModel(config), 1)
        self.vae = self._drawn(lambda: AutoencoderKLQwenImage(**scale.vae), 1)
        self.taps = tiny_krea.TAPS if toy else TAPS

    def _drawn(self, build: Callable[[], Any], centre: float) -> Any:
        return drawn(build, self.dtype, self.device, centre)

    def _true_text(self) -> Qwen3VLConfig:
        names = {
            "image_token_id": "<|image_pad|>",
            "video_token_id": "<|video_pad|>",
            "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>",
        }
        tokens = {key: self.tokenizer.convert_tokens_to_ids(name) for key, name in names.items()}
        return Qwen3VLConfig(**tiny_krea.TRUE_TEXT, **tokens)

    def pipeline(self) -> Krea2Pipeline:
        made = Krea2Pipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_image_seq_len=6400),
            vae=self.vae,
            text_encoder=self.text,
            tokenizer=self.tokenizer,
            transformer=self.transformer,
            text_encoder_select_layers=self.taps,
            is_distilled=True,
        )
        made.set_progress_bar_config(disable=True)
        return made


class Bench:
    """What is measured, and where it is written down."""

    def __init__(self, scale: Scale, device: torch.device, file: Path | None, by: str) -> None:
        self.scale, self.device, self.file, self.by = scale, device, file, by
        self.found: dict[str, dict[str, Any]] = {}
        self.rates: dict[str, float] = {"fp8": math.nan}  # operations a second, in large matrix products
        self.counted = dict.fromkeys(("matrices", "attention", "decode", "text"), math.nan)
        self.wanted: Tensor | None = None  # the velocity that the first way gave
        self.painted_so_far = 0

    def run(self, name: str, part: Callable[["Bench"], dict[str, Any]]) -> None:
        begun = time.perf_counter()
        try:
            with torch.inference_mode():
                found = part(self)
        except Exception as error:  # the other parts are still worth having
            traceback.print_exc()
            found = {"failed": f"{type(error).__name__}: {error}"[:500]}
        self.found[name] = {key: figure(value) for key, value in found.items()}
        print(f"\n{name} ({time.perf_counter() - begun:.0f} s)")
        for key, value in self.found[name].items():
            promise = f"   promised {PROMISED[key]}" if key in PROMISED else ""
            print(f"  {key:34} {value}{promise}", flush=True)
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.found, indent=1))

    # What all parts paint with

    def build(self) -> None:
        self.model = Model(self.scale, self.device)
        self.text = PromptEncoder(self.model.text, self.model.tokenizer, self.model.taps)
        self.engine, self.transformers = self.painter()

    def painter(self) -> tuple[KreaEngine, Transformers]:
        part: Any = SimpleNamespace(
            bytes=0,
            block_bytes=(),
            weights=(),
            network=self.model.transformer,
            load=lambda device, behind: self.model.transformer,
        )
        transformers = Transformers({"turbo": part, "raw": part}, self.device)
        return KreaEngine(transformers, self.text, deepcopy(self.model.vae)), transformers

    def compute_by(self, backend: Backend) -> None:
        self.transformers.compute_by(backend)
        self.model.transformer.backend = backend

    def asked(self, **more: Any) -> Conditioning:
        side, steps = self.scale.side, self.scale.turbo_steps
        return Conditioning(PROMPT, "", side, side, 7, "turbo", steps, 0.0, **more)

    def timed(self, run: Callable[[], object], repeats: int | None = None) -> float:
        """Seconds, in the middle of several times, after a first that does not count."""
        run()
        return statistics.median(seconds(run) for _ in range(repeats or self.scale.repeats))

    def pictures(self, count: int, side: int) -> list[Image.Image]:
        noise = torch.randint(0, 255, (count, side, side, 3), dtype=torch.uint8)
        return [Image.fromarray(picture.numpy()) for picture in noise]

    def inputs(self, batch: int = 1, side: int | None = None) -> tuple[Tensor, Tensor, Tensor, Rotary]:
        """Noisy tokens, their time, the prompt's features, and how the tokens are turned."""
        rows = (side or self.scale.side) // TOKEN
        torch.manual_seed(0)
        x = torch.randn(batch, rows**2, self.model.transformer.in_channels, device=self.device)
        text = fuse_text(self.model.transformer, self.text.tapped(PROMPT))
        t = torch.full((batch,), 0.6, device=self.device)
        rotary = tiny_krea.rotary(self.model.transformer, rows, rows)
        return x.to(self.model.dtype), t, text.expand(batch, -1, -1), rotary

    def velocity(self) -> Tensor:
        return predict(self.model.transformer, *self.inputs())

    def fast(self) -> Backend:
        """The backend that a painter takes on this device."""
        fast = warm.fastest(self.model.transformer, self.model.dtype, self.device, False)
        return fast.compiled_as(halves(by=self.by))

    def painted(self, **more: Any) -> float:
        """Seconds of a picture of a prompt that was not heard before."""
        self.painted_so_far += 1
        asked = replace(self.asked(**more), prompt=f"{PROMPT}, {self.painted_so_far}")
        return seconds(lambda: self.engine.paint(asked, lambda step: None))

    def parts(self, matrices: str) -> dict[str, Any]:
        """Seconds of a picture and of its parts, and the most memory that it took."""
        transformer, z, given = self.model.transformer, self.latents(), self.inputs()
        tapped = self.text.tapped(PROMPT)
        self.painted()
        reset_peak()
        whole = statistics.median(self.painted() for _ in range(self.scale.repeats))
        return {
            "seconds": whole,
            "peak GB": peak_gb(),
            "text": self.timed(lambda: self.text.encoded(PROMPT)),
            "fusion": self.timed(lambda: fuse_text(transformer, tapped)),
            "step": self.timed(lambda: predict(transformer, *given)),
            "decode": self.timed(lambda: self.engine.pixels.decode(z)),
            "times the floor": whole / self.floor(matrices),
            **self.agreement(self.velocity()),
        }

    def agreement(self, velocity: Tensor) -> dict[str, float]:
        """How far the velocity is from the one that the first way gave."""
        if self.wanted is None:
            self.wanted = velocity.float()
        return {"velocity's error": kernels.error(velocity, self.wanted)}

    def latents(self) -> Tensor:
        side = self.scale.side // TOKEN * PATCH
        channels = self.model.transformer.in_channels // PATCH**2
        return torch.randn(1, channels, side, side, device=self.device)

    def flops(self) -> dict[str, float]:
        """Of the blocks in one step, by what does them; of the decoder; of the text encoder."""
        transformer = self.model.transformer
        x, _, text, _ = self.inputs()
        length = x.shape[1] + text.shape[1]
        blocks = transformer.transformer_blocks
        matrices = sum(layer.weight.numel() for layer in blocks.modules() if isinstance(layer, nn.Linear))
        with FlopCounterMode(display=False) as counter:
            self.engine.pixels.decode(self.latents())
        words = self.model.text.language_model
        heard = sum(w.numel() for n, w in words.named_parameters() if "embed" not in n)
        return {
            "matrices": 2.0 * matrices * length,
            "attention": 4.0 * length**2 * transformer.hidden_size * len(blocks),
            "decode": float(counter.get_total_flops()),
            "text": 2.0 * heard * (text.shape[1] + 34),
        }

    def floor(self, matrices: str = "bf16") -> float:
        """Seconds of a picture if all of it ran at the rates of large matrix products."""
        steps = self.scale.turbo_steps
        rest = steps * self.counted["attention"] + self.counted["decode"] + self.counted["text"]
        return steps * self.counted["matrices"] / self.rates[matrices] + rest / self.rates["bf16"]


# The parts


def card(bench: Bench) -> dict[str, Any]:
    """The rates that all else is held against."""
    side, device = bench.scale.square, bench.device
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    work = 2.0 * side**3
    bench.rates["bf16"] = work / bench.timed(lambda: a @ b, 10)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "processor",
        "torch": torch.__version__,
        "bf16 TFLOP/s": bench.rates["bf16"] / 1e12,
        "copy GB/s": 2 * a.nbytes / bench.timed(lambda: b.copy_(a), 10) / 1e9,
    }
    return found


def card_in_eight_bits(bench: Bench) -> dict[str, Any]:
    """The same of matrices in eight bits."""
    side, device = bench.scale.square, bench.device
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    work = 2.0 * side**3
    rows, sizes = rounded(a)
    weight, scale = rounded(b)
    product = partial(torch._scaled_mm, rows, weight.t(), sizes, scale.t(), out_dtype=torch.bfloat16)
    bench.rates["fp8"] = work / bench.timed(lambda: product(use_fast_accum=True), 10)
    with_rounding = work / bench.timed(lambda: multiplied(a, weight, scale), 10)
    return {
        "fp8 TFLOP/s": bench.rates["fp8"] / 1e12,
        "fp8 with rounding TFLOP/s": with_rounding / 1e12,
    }


def networks(bench: Bench) -> dict[str, Any]:
    """Drawn on the device."""
    taken = seconds(bench.build)
    model = bench.model
    sizes = {
        name: sum(w.nbytes for w in network.state_dict().values()) / 1e9
        for name, network in (("transformer", model.transformer), ("text", model.text), ("vae", model.vae))
    }
    return {
        "seconds to draw": taken,
        **{f"{name} GB": size for name, size in sizes.items()},
        "tokens of text": bench.inputs()[2].shape[1],
    }


def arithmetic(bench: Bench) -> dict[str, Any]:
    """What a picture asks of them."""
    bench.counted = bench.flops()
    return {
        **{f"{name} TFLOP": count / 1e12 for name, count in bench.counted.items()},
        "bf16 floor seconds": bench.floor(),
        "fp8 floor seconds": bench.floor("fp8"),
    }


def attention_kernels(bench: Bench) -> dict[str, Any]:
    """Each kernel by itself, and what is chosen."""
    if bench.device.type != "cuda":
        return {"on a processor": "none to choose from"}
    transformer = bench.model.transformer
    q, k, v = kernels.probe(transformer, bench.device)
    work = 4.0 * kernels.TOKENS**2 * transformer.hidden_size
    wanted = attend(*(z.float() for z in (q[:, : kernels.PROBED], k, v)))
    found: dict[str, Any] = {}
    for name, way in {"torch": attend, **kernels.WAYS}.items():
        try:
            wrong = kernels.error(way(q, k, v)[:, : kernels.PROBED], wanted)
            rate = work / bench.timed(partial(way, q, k, v), 20) / 1e12
            found[name] = f"{rate:.0f} TFLOP/s, error {wrong:.4f}"
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"[:120]
    ways = kernels.chosen(transformer, bench.device)
    return found | {f"chosen for {role}": name for role, (name, _) in ways.items()}


def stock(bench: Bench) -> dict[str, Any]:
    """diffusers' pipeline as it is."""
    pipeline, side = bench.model.pipeline(), bench.scale.side
    embeds, mask = pipeline.encode_prompt(PROMPT)
    z = bench.latents()[:, :, None].to(bench.model.dtype)

    def paint(count: int = 1) -> object:
        return pipeline(
            PROMPT,
            height=side,
            width=side,
            num_inference_steps=bench.scale.turbo_steps,
            guidance_scale=0.0,
            num_images_per_prompt=count,
        )

    def step(count: int = 1) -> Tensor:
        x, t, *_ = bench.inputs(count)
        places = grid(side // TOKEN, side // TOKEN).to(x.device)
        zeros = places.new_zeros(embeds.shape[1], 3)
        return pipeline.transformer(
            x,
            embeds.expand(count, -1, -1, -1),
            t,  # the pipeline rounds it to half precision
            torch.cat([zeros, places]),
            mask.expand(count, -1),
            return_dict=False,
        )[0]

    reset_peak()
    return {
        "whole": bench.timed(paint),
        "peak": peak_gb(),
        "text": bench.timed(lambda: pipeline.encode_prompt(PROMPT)),
        "step": bench.timed(step),
        "decode": bench.timed(lambda: bench.model.vae.decode(z)),
        "step of four, each": bench.timed(lambda: step(4)) / 4,
        **bench.agreement(step()),
    }


def stock_compiled(bench: Bench) -> dict[str, Any]:
    """diffusers' pipeline with its blocks compiled, as diffusers offers it."""
    bench.model.transformer.compile_repeated_blocks(backend=bench.by, dynamic=True)
    try:
        return stock(bench)
    finally:
        for block in bench.model.transformer.transformer_blocks:
            block._compiled_call_impl = None


def plain(bench: Bench) -> dict[str, Any]:
    """easel, nothing compiled and torch's own choice of attention."""
    bench.compute_by(PLAIN)
    return bench.parts("bf16")


def uncompiled(bench: Bench) -> dict[str, Any]:
    """easel with the fastest attention."""
    bench.compute_by(warm.fastest(bench.model.transformer, bench.model.dtype, bench.device, False))
    return bench.parts("bf16")


def compiled(bench: Bench) -> dict[str, Any]:
    """easel as it runs on a GPU."""
    bench.compute_by(bench.fast())
    first = seconds(bench.velocity)
    found = bench.parts("bf16")
    return {"seconds to compile": first, "bf16 seconds": found["seconds"], **found}


def batches(bench: Bench) -> dict[str, Any]:
    """A step of several pictures, for each."""
    found = {}
    for count in (1, 2, 4):
        given = bench.inputs(count)
        found[f"step of {count}, each"] = (
            bench.timed(lambda given=given: predict(bench.model.transformer, *given)) / count
        )
    return found


def shared_attention(bench: Bench) -> dict[str, Any]:
    """Style references without a LoRA: new ones, and those of the picture before."""
    reset_peak()
    alone, found = bench.painted(), {}
    for count, name in ((1, "one reference"), (4, "four references")):
        looks = [(picture, 0.44 / count) for picture in bench.pictures(count, bench.scale.reference)]
        bench.painted(looks=looks)
        found[f"{name}, seen before"] = bench.painted(looks=looks) / alone - 1
        fresh = [bench.pictures(count, bench.scale.reference) for _ in range(bench.scale.repeats)]
        new = statistics.median(bench.painted(looks=[(p, 0.44 / count) for p in one]) for one in fresh)
        found[name] = new / alone - 1
        found[f"{name}, seconds"] = new
    return {**found, "peak": peak_gb()}


def in_a_style(bench: Bench) -> dict[str, Any]:
    """A picture in a trained style, beside one without."""
    reset_peak()
    alone, styles = bench.painted(), [random_lora(bench)]
    bench.painted(styles=styles)
    spent = statistics.median(bench.painted(styles=styles) for _ in range(bench.scale.repeats))
    return {"seconds": spent, "beside none": spent / alone - 1, "peak": peak_gb()}


def in_context(bench: Bench) -> dict[str, Any]:
    """Style references with a LoRA, in the picture's own sequence."""
    reset_peak()
    alone, found = bench.painted(), {}
    lora = random_lora(bench)
    for count in (1, 4):
        context = [(picture, 0.5) for picture in bench.pictures(count, bench.scale.in_context)]
        asked = bench.asked(context=context, styles=[lora])
        spent = bench.timed(partial(bench.engine.paint, asked, lambda step: None), 1)
        found |= {f"{count}, seconds": spent, f"{count}, beside none": spent / alone - 1}
    return {**found, "peak": peak_gb()}


def random_lora(bench: Bench) -> Style:
    """On every matrix of every block, as style LoRAs are."""
    found = {}
    for name, layer in bench.model.transformer.named_modules():
        if isinstance(layer, nn.Linear) and name.startswith("transformer_blocks."):
            shapes = (bench.scale.rank, layer.in_features), (layer.out_features, bench.scale.rank)
            down, up = (torch.randn(shape, device=bench.device, dtype=bench.model.dtype) for shape in shapes)
            found[name] = Change(down / 100, up / 100)
    return Style("random", found, 1.0)


def raw(bench: Bench) -> dict[str, Any]:
    """Krea-2-Raw's recipe: two forwards a step."""
    asked = replace(bench.asked(), weights="raw", steps=bench.scale.raw_steps, guidance=3.5)
    return {"Raw seconds": seconds(lambda: bench.engine.paint(asked, lambda step: None))}


def fused_matrices(bench: Bench) -> dict[str, Any]:
    """Whether queries, keys, values and gate, and the two halves of the feed-forward network, are worth a
    product of their own."""
    first = bench.model.transformer.transformer_blocks[0]
    x, _, text, _ = bench.inputs()
    h = torch.randn(1, x.shape[1] + text.shape[1], bench.model.transformer.hidden_size, device=bench.device)
    h = h.to(bench.model.dtype)
    found = {}
    attention = first.attn
    for name, layers in {
        "q, k, v, gate": (attention.to_q, attention.to_k, attention.to_v, attention.to_gate),
        "gate, up": (first.ff.gate, first.ff.up),
    }.items():
        weights = [layer.weight for layer in layers]
        joint = torch.cat(weights)
        apart = bench.timed(lambda weights=weights: [F.linear(h, w) for w in weights], 20)
        found[f"{name}: saved of a step, seconds"] = (
            apart - bench.timed(lambda joint=joint: F.linear(h, joint), 20)
        ) * len(bench.model.transformer.transformer_blocks)
    return found


def eight_bits(bench: Bench) -> dict[str, Any]:
    """The blocks' matrices in eight bits; those in sixteen are given up."""
    del bench.engine, bench.transformers  # they hold those in sixteen too
    tiny_krea.kept_in_eight_bits(bench.model.transformer)
    bench.engine, bench.transformers = bench.painter()
    bench.compute_by(bench.fast())
    first = seconds(bench.velocity)
    found = bench.parts("fp8")
    return {"seconds to compile": first, "fp8 seconds": found["seconds"], **found}


def memory(bench: Bench) -> dict[str, Any]:
    """What a picture's parts take beside the weights, and the autoencoder's seconds, in bands and at once."""
    side, coder = bench.scale.side, bench.engine.pixels
    x = torch.rand(1, 3, side, side, device=bench.device)
    ways = {"decode": partial(coder.decode, bench.latents()), "encode": partial(coder.encode, x)}
    found = {"step, GB": taken_gb(bench.velocity)}
    for bands, said in ((4, "in bands"), (1, "at once")):
        with patch.object(pixels, "BAND", side**2 // bands):
            for name, run in ways.items():
                found[f"{name} {said}, GB"] = taken_gb(run)
                found[f"{name} {said}, seconds"] = bench.timed(run)
    return found


def speech(bench: Bench) -> dict[str, Any]:
    """A token that the text encoder says: as transformers has it, by our operations, and those as one graph;
    and what reading its weights takes, at the rate at which the card copies memory."""
    model, given = bench.model.text, inputs(bench.model.text, [bench.text.tokens(PROMPT)])
    length = given["input_ids"].shape[1]

    def heard() -> DynamicCache:
        cache = DynamicCache()
        model(**given, past_key_values=cache, use_cache=True)
        return cache

    place = torch.full((3, 1, 1), length, device=bench.device)
    theirs = partial(model, input_ids=place[0], position_ids=place, past_key_values=heard(), use_cache=True)
    large = torch.empty(2**28 if bench.scale.side > 256 else 2**16, dtype=torch.int32, device=bench.device)
    read = bench.timed(partial(large.copy_, large.clone())) / (2 * large.nbytes)
    found = {
        "token by transformers": bench.timed(theirs, SPOKEN),
        "floor": read * sum(weight.nbytes for weight in model.language_model.parameters()),
    }
    for name, graphs in (("token", False), ("token as one graph", True)):
        following = Following(model, heard(), length, 64 * SPOKEN, graphs)
        found[name] = told(lambda following=following: bench.timed(partial(following, 0), SPOKEN))
    return found


def graphs(bench: Bench) -> dict[str, Any]:
    """Whether launching the kernels of a step costs anything: steps as they are and as CUDA graphs. On a
    processor there is none, and the graph is the plain run."""
    found: dict[str, Any] = {}
    for side in (bench.scale.side // 4, bench.scale.side // 2, bench.scale.side):
        step = partial(predict, bench.model.transformer, *bench.inputs(side=side))
        found[f"step at {side}"] = bench.timed(step)
        if torch.cuda.is_available():
            found[f"step at {side}, replayed"] = told(
                lambda step=step: bench.timed(captured(step, bench.device))
            )
    return found


def told(measure: Callable[[], Any]) -> Any:
    """What is measured, or why it cannot be."""
    try:
        return measure()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:120]


def streamed(bench: Bench) -> dict[str, Any]:
    """A step with every block brought from the machine's own memory, in eight bits; the last of all."""
    del bench.engine, bench.transformers
    network = bench.model.transformer
    runs = packed(network, len(network.transformer_blocks), bench.device)
    network.backend = replace(bench.fast(), at_hand=Stream(network, runs, bench.device))
    reset_peak()
    sent = sum(map(len, runs.values()))
    given = bench.inputs()
    step = bench.timed(lambda: predict(network, *given))
    return {"step": step, "peak with the text encoder": peak_gb(), "GB/s if it only waits": sent / step / 1e9}


PARTS = (
    card,
    card_in_eight_bits,
    networks,
    arithmetic,
    attention_kernels,
    plain,
    uncompiled,
    compiled,
    stock,
    shared_attention,
    raw,
    batches,
    fused_matrices,
    memory,
    speech,
    stock_compiled,
    in_a_style,
    in_context,
    eight_bits,
)
AFTER = (shared_attention, raw, batches)  # again, in eight bits


def reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def taken_gb(run: Callable[[], object]) -> float:
    """The most memory that a run takes beside what was held before."""
    reset_peak()
    held = torch.cuda.memory_allocated() / 1e9 if torch.cuda.is_available() else float("nan")
    run()
    return peak_gb() - held


def peak_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else float("nan")


def figure(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--toy", action="store_true", help="tiny networks")
    parser.add_argument("--json", type=Path, help="where all figures go")
    args = parser.parse_args()
    diffusers_logging.set_verbosity_error()
    device = best_device()
    bench = Bench(TOY if args.toy else FULL, device, args.json, "eager" if args.toy else "inductor")
    for part in PARTS:
        bench.run(part.__name__, part)
    for part in AFTER:
        bench.run(f"{part.__name__} in eight bits", part)
    bench.run("graphs in eight bits", graphs)  # one that fails may spoil what follows it
    bench.run("streamed in eight bits", streamed)
    if any("failed" in found for found in bench.found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
