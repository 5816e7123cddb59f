"""Krea's open weights resident on a device: conditioning in, pictures out."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import pairwise
from threading import Lock
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor

from easel.catalog import Weights
from easel.engine.order import Order, sampled
from easel.engine.several import Several
from easel.engine.steps import Steps
from easel.engine.transformers import Apart, Transformers
from easel.engine.voices import KeptVoices, room_beside
from easel.errors import CheckpointError
from easel.model import flow, in_context, latents, shared
from easel.model.lora import Style
from easel.model.pixels import Pixels
from easel.model.prompts import Pairs, PromptEncoder, direction, said
from easel.model.tinted import Shares, Tints, tinted
from easel.model.transformer import fuse_text, grid
from easel.model.worn import worn
from easel.schema.painting import Step

PATCH = 2  # latents a side of one token
TOKEN = 8 * PATCH  # pixels a side of one token
PREVIEW = 32  # latents of a preview's longer side, so 256 pixels


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    negative: str  # what is avoided: by guidance where there is any, else in the picture's attention
    width: int
    height: int
    seed: int
    weights: Weights
    steps: int
    guidance: float  # v = cond + guidance * (cond - uncond)
    looks: Sequence[tuple[Image.Image, float]] = ()  # references to share attention with, and their weights
    context: Sequence[tuple[Image.Image, float]] = ()  # references for the style LoRA, and their strengths
    tints: Sequence[tuple[Image.Image, float]] = ()  # references that act on the prompt, and their weights
    styles: Sequence[Style] = ()
    moves: Sequence[tuple[Pairs, float]] = ()  # between which phrases the prompt is moved, and how far, -1..1
    start: Image.Image | None = None  # a picture of this size to begin with
    strength: float = 1.0  # how much of it is painted anew


class KreaEngine:
    """Paints with Krea's open weights; not for several threads at once."""

    def __init__(
        self, transformers: Transformers, text: PromptEncoder, vae: Any, several: Several | None = None
    ) -> None:
        self._transformers, self._text, self._several = transformers, text, several
        self.pixels = Pixels(vae)
        self.at_work = Lock()  # for whoever paints while others may want to make room
        self._voices = KeptVoices()
        self._directions: dict[tuple[Weights, Pairs], Tensor] = {}
        self.seconds: dict[str, float] = {}  # of the last picture, by part

    @torch.inference_mode()
    def paint(self, conditioning: Conditioning, on_step: Callable[[Step], None]) -> Image.Image:
        """The picture; `on_step` hears of each step and may raise to stop."""
        if conditioning.start and conditioning.strength == 0:
            self.seconds = {}
            return conditioning.start
        begun = time.perf_counter()
        transformer = self._take(conditioning.weights)
        loaded = time.perf_counter()
        z, steps = self._sample(transformer, conditioning, on_step)
        decoded = self.pixels.decode(z)
        steps.finish()  # now that the device has all it needs
        picture = latents.to_picture(decoded)
        ends = (begun, loaded, steps.told, time.perf_counter())
        parts = ("load", "sample", "decode")
        self.seconds = {part: b - a for part, (a, b) in zip(parts, pairwise(ends), strict=True)}
        return picture

    @torch.inference_mode()
    def unfinished(self, conditioning: Conditioning) -> Tensor:
        """The latents (1, C, height / 8, width / 8) that the decoder makes the picture of."""
        transformer = self._take(conditioning.weights)
        z, _ = self._sample(transformer, conditioning, lambda step: None)
        return z

    def _take(self, weights: Weights) -> Krea2Transformer2DModel:
        """The transformer; one that is not loaded yet gets the memory that voices had."""
        if weights in self._transformers:
            return self._transformers.take(weights)
        self._voices.clear()
        return self._transformers.take(weights)

    @contextmanager
    def apart(self, weights: Weights, taken: float) -> Iterator[Apart]:
        """A network of the same weights to learn beside, which takes so many bytes: when the picture that is
        being painted is done, voices and transformers make room. EngineError where there is too little."""
        try:
            with ExitStack() as held:
                with self.at_work:
                    self._voices.clear()
                    made = held.enter_context(self._transformers.apart(weights, taken))
                yield made
        finally:
            with self.at_work:
                self._voices.clear()  # there is room for more

    def cuts(self, prompt: str) -> bool:
        """Whether the prompt is longer than what the text encoder hears."""
        return self._text.is_cut(prompt)

    def _heard(
        self,
        transformer: Krea2Transformer2DModel,
        prompt: str,
        pictures: Sequence[Image.Image] = (),
        tints: Tints = (),
    ) -> Tensor:
        """The prompt's features (1, T, D): they are the same at all steps."""
        words = said(prompt) if tints else prompt

        def hear(shares: Shares) -> Tensor:
            tapped = self._text.tapped(words, pictures, shares)
            return fuse_text(transformer, tapped.to(transformer.img_in.weight))

        return tinted(hear, tints)

    def _moved(self, transformer: Krea2Transformer2DModel, conditioning: Conditioning) -> Tensor | None:
        """How far the prompt's features are moved, (1, 1, D). What styles change has no part in it."""
        found = []
        for pairs, amount in conditioning.moves:
            key = (conditioning.weights, pairs)
            if key not in self._directions:
                self._directions[key] = direction(partial(self._heard, transformer), pairs)
            found.append(amount * self._directions[key])
        return torch.stack(found).sum(0) if found else None

    def _sample(
        self,
        transformer: Krea2Transformer2DModel,
        conditioning: Conditioning,
        on_step: Callable[[Step], None],
    ) -> tuple[Tensor, Steps]:
        moved = self._moved(transformer, conditioning)
        with worn(transformer, conditioning.styles):
            return self._sampled(transformer, conditioning, moved, on_step)

    def _sampled(
        self,
        transformer: Krea2Transformer2DModel,
        conditioning: Conditioning,
        moved: Tensor | None,
        on_step: Callable[[Step], None],
    ) -> tuple[Tensor, Steps]:
        """The latents, and the steps of which the last may still be told."""
        shown = [image for image, strength in conditioning.context if strength > 0]
        text = self._heard(transformer, conditioning.prompt, shown, conditioning.tints)
        text = text if moved is None else text + moved
        guides, avoids = conditioning.guidance > 0, conditioning.negative != ""
        negative = self._heard(transformer, conditioning.negative) if guides or avoids else None
        rows, columns = conditioning.height // TOKEN, conditioning.width // TOKEN
        schedule = times_of(conditioning)
        times = schedule.to(text.device)
        channels = transformer.in_channels // PATCH**2
        noise = latents.noise(conditioning.seed, channels, rows * PATCH, columns * PATCH, PATCH)

        def tell(step: int, tokens: Tensor) -> None:
            on_step(Step(step, len(times) - 1, lambda: self._preview(latents.unpack(tokens, rows, PATCH))))

        given: dict[str, Any] = {
            "noise": self._begun(conditioning.start, noise.to(text.device), times[:1]),
            "times": times,
            "text": text,
            "positions": grid(rows, columns).to(text.device),
            "negative": negative if guides else None,
            "avoided": None if guides else negative,
            "guidance": conditioning.guidance,
            "references": self._context(conditioning, 1),
            "away": self._context(conditioning, -1),
        }
        looks = shared.looks_of([(self._encoded(image), weight) for image, weight in conditioning.looks])
        order = Order(
            weights=conditioning.weights,
            given=given,
            times=schedule.tolist(),
            styles=conditioning.styles,
            looks=looks,
            seen=tuple((image.size, sha256(image.tobytes()).digest()) for image, _ in conditioning.looks),
            nothing=self._heard(transformer, "") if looks else None,
            afresh=self._voices.room is None,
        )
        steps = Steps(tell, text.device)
        with self._several.led(order, steps) if self._several else nullcontext(steps) as told:
            if order.afresh:
                self._voices.room = room_beside(self._transformers)
            tokens = sampled(transformer, order, self._voices, told)
        return latents.unpack(tokens, rows, PATCH), steps

    def _begun(self, start: Image.Image | None, noise: Tensor, t: Tensor) -> Tensor:
        """What sampling begins with at the time `t` (1,): noise, or so much noise on the start picture."""
        if start is None:
            return noise
        return flow.noised(latents.pack(self._encoded(start), PATCH).to(noise), noise, t)

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


def times_of(conditioning: Conditioning) -> Tensor:
    """The times that sampling goes along. With a start picture the schedule is cut where its strength falls,
    be it between two steps, so that every strength is another."""
    tokens = conditioning.height // TOKEN * (conditioning.width // TOKEN)
    mu = flow.DISTILLED_SHIFT if conditioning.weights == "turbo" else flow.shift_of(tokens)
    begun = flow.shifted(torch.tensor(conditioning.strength, dtype=torch.float64), mu)
    return flow.remaining(flow.timesteps(conditioning.steps, mu), begun.item())


def at_most(picture: Image.Image, side: int) -> Image.Image:
    """The picture with no more pixels than a square of this side, its own sides whole tokens."""
    scale = min(1.0, side / (picture.width * picture.height) ** 0.5)
    sides = [max(2, round(length * scale / TOKEN)) for length in picture.size]
    longer = sides.index(max(sides))
    sides[longer] = min(sides[longer], (side // TOKEN) ** 2 // min(sides))
    return picture.resize([length * TOKEN for length in sides], Image.Resampling.LANCZOS)


def peak_gb(device: torch.device) -> float | None:
    """The most memory that was held on a GPU since the process began, in GB."""
    return round(torch.cuda.max_memory_allocated(device) / 1e9, 2) if device.type == "cuda" else None


def best_device(name: str = "") -> torch.device:
    """The device of this name, `cpu` or `cuda:1`; without one, the GPU if there is one. CheckpointError
    where it is not in this machine."""
    device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and (device.index or 0) >= (count := torch.cuda.device_count()):
        seen = f"{count} GPUs: the first is cuda:0" if count else "no GPU: is it built for CUDA?"
        raise CheckpointError(f"EASEL_DEVICE is {name!r}, and PyTorch sees {seen}")
    return device
