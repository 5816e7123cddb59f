"""A checkpoint resident on a device: conditioning in, pictures out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from diffusers import Krea2Transformer2DModel
from PIL import Image
from torch import Tensor

from easel.catalog import Weights
from easel.engine.sampler import sample
from easel.model import flow, latents
from easel.model.decoder import decoder_noise
from easel.model.krea2 import Networks
from easel.model.look import Look, laid
from easel.model.palette import Palette, harmonised, palette_of, toned
from easel.model.transformer import References, fuse_text, grid, read_references
from easel.schema.painting import Step

TOKEN = 32  # pixels a side that one token of the nano model stands for
TAUGHT = 256  # tokens of a picture in training
UNIT = 512  # marks are sized for a picture of so many pixels a side
PREVIEW = 256


class Shown(NamedTuple):
    """A reference as the networks see it."""

    sheet: Tensor  # (1, 3, 512, 256) in 0..1: two views, one above the other
    statistics: Tensor  # of the sheet, `of_sheets`
    strength: float  # not 0


class Learnt(NamedTuple):
    """What a trained style knows of its pictures beside what their look is."""

    palette: Palette
    code: Tensor  # (style_channels,), for the decoder


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    width: int
    height: int
    seed: int
    weights: Weights
    steps: int
    sketch: Image.Image  # the scene drawn plainly
    cover: Image.Image  # where its objects are, in grey
    looks: Sequence[tuple[Look, float]]  # to lay on the sketch, each at its strength
    references: Sequence[Shown]
    styles: Sequence[tuple[Learnt, float]] = ()
    strength: float = 1.0  # how much noise the sketch begins with: 0 leaves it as it is drawn
    intensity: float = 0.0  # of colours and contrast, -1..1


class Heard(NamedTuple):
    """What the networks read of a conditioning, once for all steps."""

    text: Tensor
    pull: References | None
    push: References | None
    drawn: Tensor  # (1, 3, H, W): the sketch with marks laid on it
    palettes: list[tuple[Palette, float]]
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
        picture = latents.to_picture(self._decode(conditioning, heard, z))
        ends = (begun, read, sampled, time.perf_counter())
        self.seconds = {
            part: b - a for part, (a, b) in zip(("read", "sample", "decode"), pairwise(ends), strict=True)
        }
        return picture

    @torch.inference_mode()
    def unfinished(self, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
        """What the decoder makes the picture of: latents (1, C, height / TOKEN, width / TOKEN), and the
        sketch with marks laid on it (1, 3, height, width)."""
        heard = self._read(conditioning)
        return self._sample(conditioning, heard, lambda step: None), heard.drawn

    def _read(self, conditioning: Conditioning) -> Heard:
        transformer, vae = self.model.transformers[conditioning.weights], self.model.vae
        tapped, _ = self.model.text.tapped([conditioning.prompt])
        # The picture's own tokens outnumber the references' more than they did in training.
        crowd = conditioning.height // TOKEN * (conditioning.width // TOKEN) / TAUGHT
        pull, push = (
            [(shown.sheet, sign * shown.strength * crowd) for shown in conditioning.references]
            for sign in (1, -1)
        )
        codes = [s * vae.style(statistics) for _, statistics, s in conditioning.references if s > 0]
        codes += [s * learnt.code for learnt, s in conditioning.styles if s > 0]
        palettes = [(palette_of(sheet.chunk(2, 2)[0][0]), s) for sheet, _, s in conditioning.references]
        return Heard(
            text=fuse_text(transformer, tapped.to(transformer.img_in.weight.dtype)),
            pull=self._references(transformer, pull),
            push=self._references(transformer, push),
            drawn=self._lay(conditioning),
            palettes=[*palettes, *((learnt.palette, s) for learnt, s in conditioning.styles)],
            style=sum(codes, torch.zeros(1, vae.config.style_channels)),
        )

    def _sample(self, conditioning: Conditioning, heard: Heard, on_step: Callable[[Step], None]) -> Tensor:
        vae = self.model.vae
        rows, columns = conditioning.height // TOKEN, conditioning.width // TOKEN
        times = flow.timesteps(conditioning.steps, flow.shift_of(rows * columns))
        times = flow.remaining(times, conditioning.strength)
        noise = latents.noise(conditioning.seed, vae.config.latent_channels, rows, columns, 1)
        sketch = latents.pack(vae.encode(heard.drawn), 1)

        def small(tokens: Tensor) -> Image.Image:
            preview = latents.to_picture(vae.unproject(latents.unpack(tokens, rows, 1)))
            preview.thumbnail((PREVIEW, PREVIEW))
            return preview

        def report(step: int, tokens: Tensor) -> None:
            on_step(Step(step, len(times) - 1, lambda: small(tokens)))

        tokens = sample(
            self.model.transformers[conditioning.weights],
            flow.noised(sketch, noise, times[:1]),
            times,
            heard.text,
            grid(rows, columns),
            sketch=sketch,
            references=heard.pull,
            away=heard.push,
            on_step=report,
        )
        return latents.unpack(tokens, rows, 1)

    def _references(
        self, transformer: Krea2Transformer2DModel, sheets: Sequence[tuple[Tensor, float]]
    ) -> References | None:
        """What the transformer reads of those sheets whose strength is above 0."""
        felt = [(sheet, strength) for sheet, strength in sheets if strength > 0]
        if not felt:
            return None
        encoded = [self.model.vae.encode(sheet).to(transformer.img_in.weight.dtype) for sheet, _ in felt]
        return read_references(transformer, encoded, torch.tensor([[strength for _, strength in felt]]))

    def _lay(self, conditioning: Conditioning) -> Tensor:
        """The sketch (1, 3, H, W) in its looks."""
        sketch, cover = (latents.to_tensor(x)[0] for x in (conditioning.sketch, conditioning.cover))
        unit = (conditioning.height * conditioning.width) ** 0.5 / UNIT
        return laid(sketch, cover[0], conditioning.looks, unit, conditioning.seed)[None]

    def _decode(self, conditioning: Conditioning, heard: Heard, z: Tensor) -> Tensor:
        """The picture (1, 3, H, W) of latents `z`."""
        generator = torch.Generator().manual_seed(conditioning.seed)
        noise = decoder_noise(1, conditioning.height, conditioning.width, generator)
        fast = self.model.transformers[conditioning.weights].img_in.weight.dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            x = self.model.vae.decode(z, heard.drawn, heard.style, noise)
        return toned(harmonised(x[0].clamp(0, 1), heard.palettes), conditioning.intensity)[None]
