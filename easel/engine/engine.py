"""A checkpoint resident on a device: conditioning in, pictures out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from PIL import Image
from torch import Tensor

from easel.engine.sampler import sample
from easel.model import flow, latents
from easel.model.krea2 import Krea2
from easel.model.transformer import References, fuse_text, grid, read_references
from easel.schema.painting import Step

TOKEN = 32  # pixels a side that one token of the nano model stands for
TAUGHT = 256  # tokens of a picture in training
PREVIEW = 256


@dataclass(frozen=True)
class Conditioning:
    """All that decides a picture, in the model's terms."""

    prompt: str
    width: int
    height: int
    seed: int
    steps: int
    sketch: Image.Image | None  # the scene drawn plainly, at half size
    references: Sequence[tuple[Image.Image, float]]  # sheets of `style.references`, strengths other than 0


class Engine:
    """Paints with one checkpoint; not for several threads at once."""

    def __init__(self, model: Krea2):
        self.model = model
        self.seconds: dict[str, float] = {}  # of the last picture, by part

    @torch.inference_mode()
    def paint(self, conditioning: Conditioning, on_step: Callable[[Step], None]) -> Image.Image:
        """The picture; `on_step` hears of each step and may raise to stop."""
        begun = time.perf_counter()
        transformer, vae = self.model.transformer, self.model.vae
        rows, columns = conditioning.height // TOKEN, conditioning.width // TOKEN
        tapped, _ = self.model.text.tapped([conditioning.prompt])
        text = fuse_text(transformer, tapped.to(transformer.img_in.weight.dtype))
        # The picture's own tokens outnumber the references' more than they did in training.
        crowd = rows * columns / TAUGHT
        pull = self._references([(p, s * crowd) for p, s in conditioning.references if s > 0])
        push = self._references([(p, -s * crowd) for p, s in conditioning.references if s < 0])
        read = time.perf_counter()

        def report(step: int, tokens: Tensor) -> None:
            small = latents.to_picture(vae.unproject(latents.unpack(tokens, rows, 1)))
            small.thumbnail((PREVIEW, PREVIEW))
            on_step(Step(step, conditioning.steps, small))

        tokens = sample(
            transformer,
            latents.noise(conditioning.seed, vae.config.latent_channels, rows, columns, 1),
            flow.timesteps(conditioning.steps, flow.shift_of(rows * columns)),
            text,
            grid(rows, columns),
            sketch=self._sketch(conditioning.sketch, rows * columns),
            references=pull,
            away=push,
            on_step=report,
        )
        sampled = time.perf_counter()
        picture = latents.to_picture(self._decode(latents.unpack(tokens, rows, 1)))
        ends = (begun, read, sampled, time.perf_counter())
        self.seconds = {
            part: b - a for part, (a, b) in zip(("read", "sample", "decode"), pairwise(ends), strict=True)
        }
        return picture

    def _sketch(self, sketch: Image.Image | None, count: int) -> Tensor:
        """The sketch as tokens (1, N, C); zeros where there is none."""
        if sketch is None:
            return torch.zeros(1, count, self.model.vae.config.latent_channels)
        return latents.pack(self.model.vae.encode_half(latents.to_tensor(sketch)), 1)

    def _references(self, sheets: Sequence[tuple[Image.Image, float]]) -> References | None:
        if not sheets:
            return None
        dtype = self.model.transformer.img_in.weight.dtype
        encoded = [self.model.vae.encode(latents.to_tensor(sheet)).to(dtype) for sheet, _ in sheets]
        return read_references(self.model.transformer, encoded, torch.tensor([[s for _, s in sheets]]))

    def _decode(self, z: Tensor) -> Tensor:
        with torch.autocast(
            "cpu", torch.bfloat16, enabled=self.model.transformer.img_in.weight.dtype == torch.bfloat16
        ):
            return self.model.vae.decode(z)
