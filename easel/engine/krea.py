"""Krea's open weights resident on a device: conditioning in, pictures out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Any

import psutil
import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor

from easel.catalog import Weights
from easel.engine.sampler import sample, silence
from easel.engine.steps import Steps
from easel.engine.voices import KeptVoices
from easel.model import flow, in_context, latents, open_weights, shared
from easel.model.backend import PLAIN, Backend
from easel.model.open_weights import WORKING_BYTES, Part
from easel.model.pixels import Pixels
from easel.model.prompts import PromptEncoder
from easel.model.transformer import fuse_text, grid
from easel.schema.painting import Step

PATCH = 2  # latents a side of one token
TOKEN = 8 * PATCH  # pixels a side of one token
PREVIEW = 32  # latents of a preview's longer side, so 256 pixels
KEPT = 8e9  # bytes of what references said, at most: eight steps of seven references


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    negative: str  # heard where there is guidance
    width: int
    height: int
    seed: int
    weights: Weights
    steps: int
    guidance: float  # v = cond + guidance * (cond - uncond)
    looks: Sequence[tuple[Image.Image, float]] = ()  # references to share attention with, and their weights
    context: Sequence[tuple[Image.Image, float]] = ()  # references for the style LoRA, and their strengths


class Transformers:
    """Turbo and Raw, of which as many stay on the device as it has room for."""

    def __init__(
        self,
        parts: Mapping[Weights, Part],
        device: torch.device,
        style_lora: dict[str, Tensor] | None = None,
        backend: Backend = PLAIN,
    ) -> None:
        self._parts, self._device, self._style_lora = parts, device, style_lora
        self.backend = backend
        self._loaded: dict[Weights, Krea2Transformer2DModel] = {}

    @torch.inference_mode()
    def take(self, weights: Weights, styled: bool = False) -> Krea2Transformer2DModel:
        """The transformer, loaded, with the style LoRA if it is to be `styled`; others give way where there
        is no room."""
        if weights not in self._loaded:
            if self._parts[weights].bytes + WORKING_BYTES > free_memory(self._device):
                self._loaded.clear()
            self._loaded[weights] = self._load(weights)
        transformer = self._loaded[weights]
        if styled:
            transformer.enable_adapters()
        elif self._style_lora and weights == "turbo":
            transformer.disable_adapters()
        return transformer

    def __contains__(self, weights: Weights) -> bool:
        return weights in self._loaded

    def spare(self) -> float:
        """Bytes of the device's memory that no picture needs."""
        return max(0.0, free_memory(self._device) - WORKING_BYTES)

    def _load(self, weights: Weights) -> Krea2Transformer2DModel:
        transformer = self._parts[weights].load(self._device)
        if self._style_lora and weights == "turbo":
            open_weights.add_style_lora(transformer, self._style_lora)
        transformer.backend = self.backend
        return transformer

    def compute_by(self, backend: Backend) -> None:
        """From now on."""
        self.backend = backend
        for transformer in self._loaded.values():
            transformer.backend = backend


class KreaEngine:
    """Paints with Krea's open weights; not for several threads at once."""

    def __init__(self, transformers: Transformers, text: PromptEncoder, vae: Any) -> None:
        self._transformers, self._text = transformers, text
        self.pixels = Pixels(vae)
        self._voices = KeptVoices(min(KEPT, transformers.spare()))
        self.seconds: dict[str, float] = {}  # of the last picture, by part

    @torch.inference_mode()
    def paint(self, conditioning: Conditioning, on_step: Callable[[Step], None]) -> Image.Image:
        """The picture; `on_step` hears of each step and may raise to stop."""
        begun = time.perf_counter()
        transformer = self._take(conditioning)
        loaded = time.perf_counter()
        z, steps = self._sample(transformer, conditioning, on_step)
        decoded = self.pixels.decode(z)
        steps.finish()  # now that the device has all it needs
        sampled = time.perf_counter()
        picture = latents.to_picture(decoded)
        ends = (begun, loaded, sampled, time.perf_counter())
        parts = ("load", "sample", "decode")
        self.seconds = {part: b - a for part, (a, b) in zip(parts, pairwise(ends), strict=True)}
        return picture

    @torch.inference_mode()
    def unfinished(self, conditioning: Conditioning) -> Tensor:
        """The latents (1, C, height / 8, width / 8) that the decoder makes the picture of."""
        transformer = self._take(conditioning)
        z, _ = self._sample(transformer, conditioning, lambda step: None)
        return z

    def _take(self, conditioning: Conditioning) -> Krea2Transformer2DModel:
        """The transformer; one that is not loaded yet gets the memory that voices had."""
        styled = bool(conditioning.context)
        if conditioning.weights in self._transformers:
            return self._transformers.take(conditioning.weights, styled)
        self._voices.clear()
        transformer = self._transformers.take(conditioning.weights, styled)
        self._voices = KeptVoices(min(KEPT, self._transformers.spare()))
        return transformer

    def cuts(self, prompt: str) -> bool:
        """Whether the prompt is longer than what the text encoder hears."""
        return self._text.is_cut(prompt)

    def _heard(
        self, transformer: Krea2Transformer2DModel, prompt: str, pictures: Sequence[Image.Image] = ()
    ) -> Tensor:
        """The prompt's features (1, T, D): they are the same at all steps."""
        return fuse_text(transformer, self._text.tapped(prompt, pictures).to(transformer.img_in.weight))

    def _sample(
        self,
        transformer: Krea2Transformer2DModel,
        conditioning: Conditioning,
        on_step: Callable[[Step], None],
    ) -> tuple[Tensor, Steps]:
        """The latents, and the steps of which the last may still be told."""
        shown = [image for image, strength in conditioning.context if strength > 0]
        text = self._heard(transformer, conditioning.prompt, shown)
        negative = self._heard(transformer, conditioning.negative) if conditioning.guidance > 0 else None
        rows, columns = conditioning.height // TOKEN, conditioning.width // TOKEN
        distilled = conditioning.weights == "turbo"
        mu = flow.DISTILLED_SHIFT if distilled else flow.shift_of(rows * columns)
        channels = transformer.in_channels // PATCH**2
        noise = latents.noise(conditioning.seed, channels, rows * PATCH, columns * PATCH, PATCH)

        def tell(step: int, tokens: Tensor) -> None:
            on_step(Step(step, conditioning.steps, self._preview(latents.unpack(tokens, rows, PATCH))))

        steps = Steps(tell, text.device)
        tokens = sample(
            transformer,
            noise.to(text.device),
            flow.timesteps(conditioning.steps, mu).to(text.device),
            text,
            grid(rows, columns).to(text.device),
            negative=negative,
            guidance=conditioning.guidance,
            references=self._context(conditioning, 1),
            away=self._context(conditioning, -1),
            hear=self._hearing(transformer, conditioning),
            on_step=steps,
        )
        return latents.unpack(tokens, rows, PATCH), steps

    def _hearing(
        self, transformer: Krea2Transformer2DModel, conditioning: Conditioning
    ) -> Callable[[int, Tensor], shared.Voices]:
        """What the references that share attention say at a step and its time."""
        if not conditioning.looks:
            return silence
        looks = shared.looks_of([(self._encoded(image), weight) for image, weight in conditioning.looks])
        nothing = self._heard(transformer, "")
        seen = tuple((image.size, sha256(image.tobytes()).digest()) for image, _ in conditioning.looks)
        key = conditioning.weights, conditioning.steps, seen  # all that they depend on

        def hear(step: int, t: Tensor) -> shared.Voices:
            return [
                (
                    alike.weights,
                    self._voices.at((*key, step, i), partial(shared.listen, transformer, alike, nothing, t)),
                )
                for i, alike in enumerate(looks)
            ]

        return hear

    def _context(self, conditioning: Conditioning, sign: int) -> in_context.Context | None:
        """The references whose strengths have this sign, as the style LoRA reads them."""
        felt = [(self._encoded(image), sign * s) for image, s in conditioning.context if sign * s > 0]
        return in_context.context_of(felt) if felt else None

    def _encoded(self, image: Image.Image) -> Tensor:
        return self.pixels.encode(latents.to_tensor(image))

    def _preview(self, z: Tensor) -> Image.Image:
        """A small picture of latents: they are shrunk first, so that decoding takes a sixteenth."""
        scale = PREVIEW / max(z.shape[-2:])
        small = F.interpolate(z, scale_factor=scale, mode="area") if scale < 1 else z
        return latents.to_picture(self.pixels.decode(small))


def peak_gb(device: torch.device) -> float | None:
    """The most memory that was held on a GPU since the process began, in GB."""
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def free_memory(device: torch.device) -> float:
    """Bytes of the device's memory that nothing holds."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)
