"""A checkpoint resident on a device: conditioning in, pictures out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from easel.engine.sampler import sample
from easel.model import flow, latents
from easel.model.decoder import decoder_noise
from easel.model.krea2 import Networks
from easel.model.text import pooled
from easel.model.transformer import References, fuse_text, grid, read_references
from easel.schema.painting import Step

TOKEN = 32  # pixels a side that one token of the nano model stands for
TAUGHT = 256  # tokens of a picture in training
FULL = 1.25  # the most that codes of styles may sum to: 1 is what the decoder learnt
PREVIEW = 256


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    says_style: bool  # whether the prompt has words for a look that the decoder knows
    width: int
    height: int
    seed: int
    steps: int
    sketch: Image.Image | None  # the scene drawn plainly
    references: Sequence[tuple[Image.Image, float]]  # sheets of `style.references`, strengths other than 0


class Heard(NamedTuple):
    """What the networks read of a conditioning, once for all steps."""

    text: Tensor
    pull: References | None
    push: References | None
    sketch: Tensor | None  # (1, 3, H, W)
    style: Tensor  # the decoder's code


class Engine:
    """Paints with the networks of one checkpoint; not for several threads at once."""

    def __init__(self, model: Networks):
        self.model = model
        self.seconds: dict[str, float] = {}  # of the last picture, by part

    @torch.inference_mode()
    def paint(self, conditioning: Conditioning, on_step: Callable[[Step], None]) -> Image.Image:
        """The picture; `on_step` hears of each step and may raise to stop."""
        begun = time.perf_counter()
        heard = self._read(conditioning)
        read = time.perf_counter()
        z = self._sample(conditioning, heard, on_step)
        sampled = time.perf_counter()
        noise = decoder_noise(
            1, conditioning.height, conditioning.width, torch.Generator().manual_seed(conditioning.seed)
        )
        with self._fast():
            picture = latents.to_picture(self.model.vae.decode(z, heard.sketch, heard.style, noise))
        ends = (begun, read, sampled, time.perf_counter())
        self.seconds = {
            part: b - a for part, (a, b) in zip(("read", "sample", "decode"), pairwise(ends), strict=True)
        }
        return picture

    @torch.inference_mode()
    def latents(self, conditioning: Conditioning) -> Tensor:
        """The picture before it is decoded: (1, C, height / TOKEN, width / TOKEN)."""
        return self._sample(conditioning, self._read(conditioning), lambda step: None)

    def _read(self, conditioning: Conditioning) -> Heard:
        transformer, vae = self.model.transformer, self.model.vae
        tapped, counted = self.model.text.tapped([conditioning.prompt])
        sheets = [(latents.to_tensor(picture), strength) for picture, strength in conditioning.references]
        # The picture's own tokens outnumber the references' more than they did in training.
        crowd = conditioning.height // TOKEN * (conditioning.width // TOKEN) / TAUGHT
        liked = [(sheet, s) for sheet, s in sheets if s > 0]
        words = vae.style.hear(pooled(tapped[:, :, -1], counted)) * conditioning.says_style
        return Heard(
            text=fuse_text(transformer, tapped.to(transformer.img_in.weight.dtype)),
            pull=self._references(liked, crowd),
            push=self._references([(sheet, -s) for sheet, s in sheets if s < 0], crowd),
            sketch=None if conditioning.sketch is None else latents.to_tensor(conditioning.sketch),
            style=self._style(words, liked),
        )

    def _sample(self, conditioning: Conditioning, heard: Heard, on_step: Callable[[Step], None]) -> Tensor:
        vae, steps = self.model.vae, conditioning.steps
        rows, columns = conditioning.height // TOKEN, conditioning.width // TOKEN

        def report(step: int, tokens: Tensor) -> None:
            small = latents.to_picture(vae.unproject(latents.unpack(tokens, rows, 1)))
            small.thumbnail((PREVIEW, PREVIEW))
            on_step(Step(step, steps, small))

        tokens = sample(
            self.model.transformer,
            latents.noise(conditioning.seed, vae.config.latent_channels, rows, columns, 1),
            flow.timesteps(steps, flow.shift_of(rows * columns)),
            heard.text,
            grid(rows, columns),
            sketch=self._tokens(heard.sketch, rows * columns),
            references=heard.pull,
            away=heard.push,
            on_step=report,
        )
        return latents.unpack(tokens, rows, 1)

    def _tokens(self, sketch: Tensor | None, count: int) -> Tensor:
        """The sketch as tokens (1, N, C); zeros where there is none."""
        if sketch is None:
            return torch.zeros(1, count, self.model.vae.config.latent_channels)
        return latents.pack(self.model.vae.encode(sketch), 1)

    def _references(self, sheets: Sequence[tuple[Tensor, float]], crowd: float) -> References | None:
        if not sheets:
            return None
        dtype = self.model.transformer.img_in.weight.dtype
        encoded = [self.model.vae.encode(sheet).to(dtype) for sheet, _ in sheets]
        return read_references(
            self.model.transformer, encoded, torch.tensor([[s * crowd for _, s in sheets]])
        )

    def _style(self, words: Tensor, sheets: Sequence[tuple[Tensor, float]]) -> Tensor:
        """The decoder's code: the references' by their strengths, the words' for what those leave free."""
        reader, total = self.model.vae.style, sum(s for _, s in sheets)
        code = max(0.0, 1 - total) * words
        for sheet, strength in sheets:
            code = code + strength * min(1, FULL / total) * reader.see(sheet)
        return code

    def _fast(self) -> torch.autocast:
        return torch.autocast(
            "cpu", torch.bfloat16, enabled=self.model.transformer.img_in.weight.dtype == torch.bfloat16
        )
