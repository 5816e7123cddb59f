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
from easel.model.look import Look, laid
from easel.model.palette import Palette, harmonised, palette_of
from easel.model.texture import of_sheets
from easel.model.transformer import References, fuse_text, grid, read_references
from easel.schema.painting import Step

TOKEN = 32  # pixels a side that one token of the nano model stands for
TAUGHT = 256  # tokens of a picture in training
FULL = 1.25  # the most that strengths may sum to: 1 is what the decoder learnt
UNIT = 512  # marks are sized for a picture of so many pixels a side
PREVIEW = 256


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    look: Look | None  # what the prompt's words say of it
    width: int
    height: int
    seed: int
    steps: int
    sketch: Image.Image  # the scene drawn plainly
    cover: Image.Image  # where its objects are, in grey
    references: Sequence[tuple[Image.Image, float]]  # sheets of `style.references`, strengths other than 0


class Heard(NamedTuple):
    """What the networks read of a conditioning, once for all steps."""

    text: Tensor
    pull: References | None
    push: References | None
    sketch: Tensor  # (1, 3, H, W)
    looks: list[tuple[Look, float]]
    palettes: list[tuple[Palette, float]]
    style: Tensor  # the decoder's code


class Engine:
    """Paints with the networks of one checkpoint; not for several threads at once."""

    def __init__(self, model: Networks):
        self.model = model
        self.seconds: dict[str, float] = {}  # of the last picture, by part
        self.looks: list[tuple[Look, float]] = []  # that it was given

    @torch.inference_mode()
    def paint(self, conditioning: Conditioning, on_step: Callable[[Step], None]) -> Image.Image:
        """The picture; `on_step` hears of each step and may raise to stop."""
        begun = time.perf_counter()
        heard = self._read(conditioning)
        self.looks = heard.looks
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
        return self._sample(conditioning, heard, lambda step: None), self._lay(conditioning, heard)

    def _read(self, conditioning: Conditioning) -> Heard:
        transformer, vae = self.model.transformer, self.model.vae
        tapped, _ = self.model.text.tapped([conditioning.prompt])
        sheets = [(latents.to_tensor(picture), strength) for picture, strength in conditioning.references]
        # The picture's own tokens outnumber the references' more than they did in training.
        crowd = conditioning.height // TOKEN * (conditioning.width // TOKEN) / TAUGHT
        liked = [(sheet, s) for sheet, s in sheets if s > 0]
        disliked = [(sheet, s) for sheet, s in sheets if s < 0]
        total = sum(s for _, s in liked)
        shown = [(sheet, s * min(1, FULL / total)) for sheet, s in liked]
        statistics = [of_sheets(sheet, self.model.reader.bank) for sheet, _ in shown]
        read = zip(shown, statistics, strict=True)
        looks = [(self.model.reader.read(sheet, counted), s) for (sheet, s), counted in read]
        codes = (s * vae.style(counted) for (_, s), counted in zip(shown, statistics, strict=True))
        if conditioning.look is not None and total < 1:
            looks.append((conditioning.look, 1 - total))  # words have what the references leave
        return Heard(
            text=fuse_text(transformer, tapped.to(transformer.img_in.weight.dtype)),
            pull=self._references(liked, crowd),
            push=self._references([(sheet, -s) for sheet, s in disliked], crowd),
            sketch=latents.to_tensor(conditioning.sketch),
            looks=looks,
            style=sum(codes, torch.zeros(1, vae.config.style_channels)),
            palettes=[(palette_of(sheet.chunk(2, 2)[0][0]), s) for sheet, s in shown + disliked],
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
            sketch=latents.pack(vae.encode(heard.sketch), 1),
            references=heard.pull,
            away=heard.push,
            on_step=report,
        )
        return latents.unpack(tokens, rows, 1)

    def _references(self, sheets: Sequence[tuple[Tensor, float]], crowd: float) -> References | None:
        if not sheets:
            return None
        dtype = self.model.transformer.img_in.weight.dtype
        encoded = [self.model.vae.encode(sheet).to(dtype) for sheet, _ in sheets]
        return read_references(
            self.model.transformer, encoded, torch.tensor([[s * crowd for _, s in sheets]])
        )

    def _lay(self, conditioning: Conditioning, heard: Heard) -> Tensor:
        """The sketch (1, 3, H, W) in its looks."""
        cover = latents.to_tensor(conditioning.cover)[0, 0]
        unit = (conditioning.height * conditioning.width) ** 0.5 / UNIT
        return laid(heard.sketch[0], cover, heard.looks, unit, conditioning.seed)[None]

    def _decode(self, conditioning: Conditioning, heard: Heard, z: Tensor) -> Tensor:
        """The picture (1, 3, H, W) of latents `z`."""
        generator = torch.Generator().manual_seed(conditioning.seed)
        noise = decoder_noise(1, conditioning.height, conditioning.width, generator)
        with self._fast():
            x = self.model.vae.decode(z, self._lay(conditioning, heard), heard.style, noise)
        return harmonised(x[0].clamp(0, 1), heard.palettes)[None]

    def _fast(self) -> torch.autocast:
        return torch.autocast(
            "cpu", torch.bfloat16, enabled=self.model.transformer.img_in.weight.dtype == torch.bfloat16
        )
