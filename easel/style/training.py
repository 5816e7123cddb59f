"""A style learnt from pictures: the look that they have in common, their colours, and LoRA changes of the
transformer and the decoder.

Training pictures have no plain sketch, so one is made of each: its marks are blurred away, and the common
look is laid on it, as on a user's sketch when the style paints. From there the decoder, with the style's
code, learns the way to the picture's texture; and the transformer, from one whose colours were exchanged at
random, the way to its latents. The decoder's changes are kept only if laid marks fall short without them.
"""

import copy
import math
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from easel.engine.engine import TOKEN, Learnt
from easel.model.decoder import decoder_noise
from easel.model.flow import noised
from easel.model.krea2 import Krea2
from easel.model.latents import pack, to_tensor
from easel.model.look import Look, lay
from easel.model.lora import Change, beside, changes_of
from easel.model.operators import blur
from easel.model.palette import Palette, oklab, palette_of, srgb
from easel.model.reader import Guess
from easel.model.texture import local
from easel.model.transformer import fuse_text, grid, predict
from easel.schema.painting import Lesson, Notebook, Trained
from easel.schema.styles import WEIGHTS, Recipe
from easel.style.adapters import written
from easel.style.learning import Learner, layers, learn
from easel.style.references import AREA, reference_sheet, seen

RANK = 8
CROP = 16  # tokens a side of what the transformer learns from
WINDOW = 128  # pixels a side of what the decoder learns from
WINDOWS = 8  # of them in a step
LEARNT_FROM = 100  # pictures at most; all are read
FALLS_SHORT = 0.25  # of the texture's distance, that the decoder must save on crops it did not learn from
JUDGED = 16  # of those crops
POOL = 12  # crops with their drawings, of which each step renews one
UNIT = 2.0  # pixels, for marks on a picture of a megapixel
KEPT_EVERY = 30.0  # seconds between two states that are kept


def train(krea: Krea2, lessons: Iterable[Lesson], recipe: Recipe, notebook: Notebook) -> Trained:
    """Learn a style from pictures, going on from the notebook's state."""
    pictures = read(krea, lessons, recipe)
    look, learnt = common(krea, pictures.found)
    learner = NanoLearner(krea, pictures, look, learnt.code, recipe)
    learn(learner, notebook, KEPT_EVERY)
    metadata = {
        "architecture": "Krea2Transformer2DModel",
        "base": krea.name,
        "model": recipe.model,
        "title": recipe.name,
        "trigger_word": recipe.trigger_word,
    }
    with_changes, without = learner.textures()
    changes = learner.changes()
    if with_changes > (1 - FALLS_SHORT) * without:
        del changes["decoder"]
    else:
        learnt = learnt._replace(code=learner.code.detach())
    told = {
        "steps": learner.steps,
        "technique": look.technique,
        "hand": look.hand,
        "losses": learner.losses,
        "texture": {"laid": round(without, 4), "learnt": round(with_changes, 4)},
        "changes": list(changes),
    }
    return Trained(written(changes, look, learnt, metadata), told)


class Read(NamedTuple):
    """What is read of each picture, however many there are."""

    guess: Guess
    code: Tensor  # (1, style_channels), the decoder's
    colours: Tensor  # (3, 64, 64), some of its pixels


class Pictures(NamedTuple):
    """What is learnt from."""

    found: list[Read]  # in all pictures
    pixels: list[Tensor]  # (3, H, W), uint8, of a megapixel, sides multiples of TOKEN
    palettes: list[Palette]
    captions: list[str]


@torch.no_grad()
def read(krea: Krea2, lessons: Iterable[Lesson], recipe: Recipe) -> Pictures:
    """Read the pictures; the first LEARNT_FROM are kept whole."""
    pictures = Pictures([], [], [], [])
    for lesson in lessons:
        view = seen(reference_sheet(lesson.image), 1.0)
        whole = view.sheet.chunk(2, 2)[0][0]
        guess, code = krea.reader(view.sheet, view.statistics), krea.vae.style(view.statistics)
        pictures.found.append(Read(guess, code, whole[:, ::4, ::4].clone()))
        if len(pictures.pixels) < LEARNT_FROM:
            x = in_tokens(lesson.image)
            pictures.pixels.append((x * 255).round().byte())
            pictures.palettes.append(palette_of(x))
            pictures.captions.append(", ".join(filter(None, [lesson.caption, recipe.trigger_word])))
    return pictures


def in_tokens(picture: Image.Image) -> Tensor:
    """A picture of about a megapixel, (3, H, W) in 0..1, its sides multiples of TOKEN, not below a crop's."""
    scale = (AREA / (picture.width * picture.height)) ** 0.5
    sides = [max(CROP, round(side * scale / TOKEN)) * TOKEN for side in picture.size]
    return to_tensor(picture.resize(sides, Image.Resampling.LANCZOS))[0]


def common(krea: Krea2, found: Sequence[Read]) -> tuple[Look, Learnt]:
    """The likeliest look of all pictures together, their palette, and the mean of their codes."""
    guesses, codes, colours = zip(*found, strict=True)
    techniques = torch.cat([guess.technique.softmax(1) for guess in guesses])
    hands = torch.cat([guess.hand.softmax(1) for guess in guesses])
    sure = techniques[:, techniques.mean(0).argmax()]
    told = {
        name: torch.einsum("n,n...->...", sure / sure.sum(), torch.cat([getattr(g, name) for g in guesses]))
        for name in ("numbers", "turns", "colours", "ramp", "amount")
    }
    guess = guesses[0]._replace(
        hand=hands.mean(0).log()[None],
        technique=techniques.mean(0).log()[None],
        **{name: mean[None] for name, mean in told.items()},
    )
    palette = palette_of(torch.cat(colours, 2))
    return krea.reader.likeliest(guess), Learnt(palette, torch.cat(codes).mean(0))


def undressed(x: Tensor, palette: Palette, colours: Tensor) -> tuple[Tensor, Tensor]:
    """The picture (3, H, W) without its marks, in `colours` in place of its palette's, and what is not of the
    commonest colour at its border, (H, W)."""
    smooth = oklab(blur(x, 4 * UNIT).flatten(1).T)
    near = torch.cdist(smooth, palette.colours).argmin(1).view(x.shape[1:])
    plain = srgb(colours)[near].movedim(-1, 0)
    border = torch.cat([near[0], near[-1], near[:, 0], near[:, -1]]).bincount().argmax()
    return blur(plain, UNIT), (near != border).float()


def exchanged(colours: Tensor, rng: random.Random) -> Tensor:
    """Other colours (N, 3) in Oklab, for the most part as light and dark beside each other as these."""
    g = torch.Generator().manual_seed(rng.randrange(1 << 30))
    light, hues = colours.split([1, 2], 1)
    angle, much = rng.uniform(0, 2 * math.pi), rng.uniform(0.3, 1.6)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    tint = 0.05 * torch.randn(1, 2, generator=g) + 0.06 * torch.randn(len(colours), 2, generator=g)
    contrast = rng.uniform(0.14, 0.26) * (light - light.mean()) / (light.std(correction=0) + 0.02)
    light = rng.uniform(0.5, 0.8) + contrast + 0.06 * torch.randn(len(colours), 1, generator=g)
    return torch.cat([light.clamp(0.05, 0.98), much * hues @ turn.T + tint], 1)


class Crop(NamedTuple):
    """A part of a picture, and of its plain drawing in the common look: (3, S, S) in 0..1."""

    real: Tensor
    drawn: Tensor  # in the picture's colours
    other: Tensor  # in other colours
    caption: str


def windows(crops: Sequence[Crop], rng: random.Random) -> tuple[Tensor, Tensor]:
    """A window of each crop, and of its drawing in the same colours: (B, 3, WINDOW, WINDOW)."""
    found = []
    for crop in crops:
        top, left = (TOKEN * rng.randrange(CROP - WINDOW // TOKEN + 1) for _ in range(2))
        both = torch.stack([crop.real, crop.drawn])
        found.append(both[..., top : top + WINDOW, left : left + WINDOW])
    real, drawn = torch.stack(found, 1)
    return real, drawn


def distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """The sum of the pairs' mean absolute differences."""
    return torch.stack([(a - b).abs().mean() for a, b in zip(found, wanted, strict=True)]).sum()


class NanoLearner(Learner):
    """Copies of the networks that learn beside those that paint."""

    def __init__(self, krea: Krea2, pictures: Pictures, look: Look, code: Tensor, recipe: Recipe):
        self.pictures, self.look = pictures, look
        self.text, self.vae = krea.text, copy.deepcopy(krea.vae)
        self.transformer = copy.deepcopy(krea.transformers[WEIGHTS[recipe.model]]).float()
        matrices = layers(self.transformer, nn.Linear, "transformer_blocks")
        kernels = layers(self.vae.decoder, nn.Conv2d)
        self.beside = {
            "transformer": beside(self.transformer, matrices, RANK),
            "decoder": beside(self.vae.decoder, kernels, RANK),
        }
        self.code = nn.Parameter(code.clone())
        groups = [[*self.beside["transformer"].values()], [*self.beside["decoder"].values(), self.code]]
        super().__init__(torch.optim.AdamW([{"params": group} for group in groups], weight_decay=0.0), recipe)
        self.losses: dict[str, float] = {}  # of the last step
        self._pool: list[Crop] = []

    def step(self) -> None:
        """Learn from some crops."""
        rng, count = random.Random(self.steps), self.recipe.batch_size
        self._pool = [self._pool[i] for i in range(len(self._pool)) if i or len(self._pool) < POOL]
        self._pool += [self.crop(rng) for _ in range(POOL - len(self._pool))]
        losses = {
            "latents": self.latents_loss(rng.choices(self._pool, k=count)),
            **self.texture_losses(rng.choices(self._pool, k=WINDOWS), rng),
        }
        torch.stack(list(losses.values())).sum().backward()
        self.advance()
        self.losses = {name: round(loss.item(), 4) for name, loss in losses.items()}

    def crop(self, rng: random.Random) -> Crop:
        number, side = rng.randrange(len(self.pictures.pixels)), TOKEN * CROP
        whole = self.pictures.pixels[number]
        top, left = (TOKEN * rng.randrange((length - side) // TOKEN + 1) for length in whole.shape[1:])
        real = whole[:, top : top + side, left : left + side].float() / 255
        real = real.flip(-1) if rng.random() < 0.5 else real
        palette, seed = self.pictures.palettes[number], rng.randrange(1 << 30)
        drawn, other = (
            lay(*undressed(real, palette, colours), self.look, UNIT, seed)
            for colours in (palette.colours, exchanged(palette.colours, rng))
        )
        return Crop(real, drawn, other, self.pictures.captions[number])

    def latents_loss(self, crops: Sequence[Crop]) -> Tensor:
        """How far what the transformer foretells is from the pictures' latents."""
        with torch.no_grad():
            real, _, other = (torch.stack(kind) for kind in list(zip(*crops, strict=True))[:3])
            target, sketch = (pack(self.vae.encode(x), 1) for x in (real, other))
            noise = torch.randn_like(target)
            # Early times are the likelier ones: they decide the style.
            t = torch.sigmoid(1.1 + 1.3 * torch.randn(len(target)))
            tapped, mask = self.text.tapped([crop.caption for crop in crops])
        with torch.autocast("cpu", torch.bfloat16):
            text = fuse_text(self.transformer, tapped.float(), mask)
            x = torch.cat([noised(target, noise, t), sketch], -1)
            rotary = self.transformer.rotary_emb(grid(CROP, CROP))
            said = predict(self.transformer, x, t, text, rotary, text_mask=mask)
        return F.mse_loss(sketch + said[..., : target.shape[-1]].float(), target)

    def texture_losses(self, crops: Sequence[Crop], rng: random.Random) -> dict[str, Tensor]:
        """How unlike the pictures the decoder paints: as it is not known just where marks fall, pixels count
        little beside colours and local statistics."""
        with torch.no_grad():
            real, drawn = windows(crops, rng)
            moved = 0.3 * torch.rand(len(crops), 1, 1, 1)  # as far as the transformer goes
            z = torch.lerp(self.vae.encode(drawn), self.vae.encode(real), moved)
            z += rng.uniform(0, 0.2) * torch.randn_like(z)
            wanted = local(real)
        with torch.autocast("cpu", torch.bfloat16):
            noise = decoder_noise(len(crops), WINDOW, WINDOW)
            y = self.vae.decode(z, drawn, self.code[None].expand(len(crops), -1), noise)
        return {
            "pixels": 0.2 * (y - real).abs().mean(),
            "colours": 2 * (F.avg_pool2d(y, 16) - F.avg_pool2d(real, 16)).abs().mean(),
            "texture": distance(local(y), wanted),
        }

    @torch.no_grad()
    def textures(self) -> tuple[float, float]:
        """How unlike the pictures' texture that of the decoder is, and that of the laid marks alone."""
        rng = random.Random("judged")
        real, drawn = windows([self.crop(rng) for _ in range(JUDGED)], rng)
        noise = decoder_noise(JUDGED, WINDOW, WINDOW)
        y = self.vae.decode(self.vae.encode(drawn), drawn, self.code[None].expand(JUDGED, -1), noise)
        wanted = local(real)
        return distance(local(y), wanted).item(), distance(local(drawn), wanted).item()

    def changes(self) -> dict[str, dict[str, Change]]:
        """What was learnt, by part and layer."""
        return {part: changes_of(parameters) for part, parameters in self.beside.items()}
