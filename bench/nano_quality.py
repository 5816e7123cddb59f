"""Measures of the nano model, each beside its oracle (real renders) and chance.

python bench/nano_quality.py ARTWORK [--json] [--scale 1.0]

Two classifiers are trained here on real renders: one names the thing (of NOUNS), one the technique and the
hand. Styles asked for are parameter combinations that no training picture had; content and style meet in
pairs that were never rendered for training.
"""

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from other_kinds import OTHER_KINDS
from PIL import Image
from torch import Tensor, nn

from easel.catalog import MODELS
from easel.engine.engine import Engine
from easel.model.latents import to_picture, to_tensor
from easel.model.look import HANDS, TECHNIQUES
from easel.model.operators import OPERATORS
from easel.model.vae import AutoencoderNano
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Reference
from easel.style.compose import compose
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.scene import Item, Library, Scene
from easel.train.data import STYLES, Artwork, reference_sheet, render, sample_ground
from easel.train.styles import Style, sample_style

NOUNS = 200
BINS = (6, 12, 12)  # of L, a, b
CACHE = Path("out/quality")


class Net(nn.Module):
    """A small convolutional classifier with several heads; `features` are what its heads see."""

    def __init__(self, *classes: int):
        super().__init__()
        widths = (3, 32, 64, 128, 192)
        layers = []
        for a, b in pairwise(widths):
            layers += [nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
            layers += [nn.Conv2d(b, b, 3, 1, 1, groups=b // 8), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten())
        self.heads = nn.ModuleList(nn.Linear(4 * widths[-1], n) for n in classes)

    def features(self, x: Tensor) -> Tensor:
        return self.body(x - 0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        h = F.dropout(self.features(x), 0.2, self.training)
        return [head(h) for head in self.heads]


def nouns(artwork: Artwork) -> list[str]:
    """Keys of NOUNS things with a name of one or two words, the same at every run."""
    library, rng = artwork.library, random.Random(5)
    groups = ("animals and nature", "food and drink", "travel and places", "objects", "activities")
    names = list(library.names.values())
    plain = [
        key
        for key in artwork.emoji
        if library.groups[key] in groups
        and library.names[key].replace(" ", "").isalpha()
        and library.names[key].count(" ") < 2
        and names.count(library.names[key]) == 1
    ]
    return rng.sample(sorted(plain), NOUNS)


def hero(key: str, style: Style | None, artwork: Artwork, rng: random.Random, side: int = 512) -> Tensor:
    """A real render of one thing: (3, side, side)."""
    item = Item(
        key,
        rng.uniform(0.4, 0.6),
        rng.uniform(0.42, 0.6),
        rng.uniform(0.5, 0.85),
        rng.random() < 0.5,
    )
    scene = Scene(512, 512, sample_ground(rng), (item,))
    return render(scene, style, artwork, rng.randrange(1 << 30), side)


def small(x: Tensor) -> Tensor:
    """What the content classifier sees: (3, 96, 96)."""
    return F.interpolate(x[None], (96, 96), mode="area")[0]


def fitted(name: str, net: Net, batches: Callable[[], tuple[Tensor, list[Tensor]]], steps: int) -> Net:
    """`net` trained by `fit`, from the second run on out of a file."""
    net.load_state_dict(kept(f"{name}-net", lambda: fit(net, batches, steps).state_dict()))
    return net.eval()


def fit(net: Net, batches: Callable[[], tuple[Tensor, list[Tensor]]], steps: int) -> Net:
    """Train on `batches()` -> (x, labels a head); labels below 0 do not count."""
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    net.train()
    for _ in range(steps):
        x, labels = batches()
        with torch.autocast("cpu", torch.bfloat16):
            said = net(x.contiguous(memory_format=torch.channels_last))
        loss = sum(
            F.cross_entropy(y.float(), label, ignore_index=-1) for y, label in zip(said, labels, strict=True)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def kept(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, from the second run on out of a file."""
    path = CACHE / f"{name}.pt"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path)
    return torch.load(path)


def content_classifier(artwork: Artwork, keys: list[str]) -> tuple[Net, float, float]:
    """The net that names the thing, and its accuracies on plain and on styled renders it never saw."""

    def renders(count: int, first_style: int, plain: Callable[[int], bool]) -> Tensor:
        rng, pictures = random.Random(first_style), []
        for i in range(count):
            style = None if plain(i) else sample_style(first_style + rng.randrange(STYLES))
            pictures.append((small(hero(keys[i % NOUNS], style, artwork, rng, 256)) * 255).byte())
        return torch.stack(pictures)

    x = kept("content", lambda: renders(NOUNS * 20, 0, lambda i: i % 6 == 0))
    plain = kept("content-plain", lambda: renders(NOUNS, STYLES, lambda i: True))
    styled = kept("content-styled", lambda: renders(NOUNS * 2, STYLES, lambda i: False))

    def batch() -> tuple[Tensor, list[Tensor]]:
        pick = torch.randint(0, len(x), (64,))
        crop = torch.roll(x[pick].float() / 255, [random.randint(-6, 6) for _ in range(2)], (2, 3))
        crop = crop.flip(-1) if random.random() < 0.5 else crop
        return crop * random.uniform(0.85, 1.15), [pick % NOUNS]

    def accuracy(test: Tensor) -> float:
        with torch.inference_mode():
            right = net(test.float() / 255)[0].argmax(1) == torch.arange(len(test)) % NOUNS
        return right.float().mean().item()

    net = fitted("content", Net(NOUNS), batch, 1500)
    return net, accuracy(plain), accuracy(styled)


def style_view(half: Tensor, vae: AutoencoderNano) -> Tensor:
    """What the style classifier sees of a picture at half size: its sheet as the autoencoder hears it."""
    return vae.unproject(vae.encode_half(reference_sheet(half)[None]))[0].clamp(0, 1)


def style_labels(style: Style) -> tuple[int, int]:
    """Technique, and the hand where no technique covers it (else -1)."""
    shown = style.look.technique in ("plain", "outline", "blur", "grain")
    return TECHNIQUES.index(style.look.technique), HANDS.index(style.look.hand) if shown else -1


def style_classifier(artwork: Artwork, vae: AutoencoderNano) -> tuple[Net, float, float]:
    """The net that names technique and hand, and its two accuracies on unseen styles."""

    def renders(numbers: range) -> Tensor:
        rng, sheets = random.Random(numbers.start), []
        for number in numbers:
            picture = hero(rng.choice(artwork.emoji), sample_style(number), artwork, rng)
            sheets.append((style_view(picture, vae) * 255).byte())
        return torch.stack(sheets)

    trained, tested = range(0, 1800), range(STYLES + 5000, STYLES + 5300)
    x, test = kept("style", lambda: renders(trained)), kept("style-test", lambda: renders(tested))
    y, truth = (
        torch.tensor([style_labels(sample_style(n)) for n in numbers]) for numbers in (trained, tested)
    )

    def batch() -> tuple[Tensor, list[Tensor]]:
        pick = torch.randint(0, len(x), (48,))
        crop = x[pick].float() / 255
        return crop.flip(-1) if random.random() < 0.5 else crop, list(y[pick].T)

    net = fitted("style", Net(len(TECHNIQUES), len(HANDS)), batch, 900)
    with torch.inference_mode():
        technique, hand = net(test.float() / 255)
    shown = truth[:, 1] >= 0
    return (
        net,
        (technique.argmax(1) == truth[:, 0]).float().mean().item(),
        (hand.argmax(1) == truth[:, 1])[shown].float().mean().item(),
    )


def half(picture: Image.Image) -> Tensor:
    return F.avg_pool2d(to_tensor(picture), 2)[0]


def as_picture(x: Tensor, side: int) -> Image.Image:
    return to_picture(x[None]).resize((side, side), Image.Resampling.BICUBIC)


def lab_histogram(picture: Image.Image) -> np.ndarray:
    """A histogram over L, a, b, smoothed by one bin, so that nearly the same colour counts as near."""
    values = np.asarray(picture.resize((128, 128)).convert("LAB"), dtype=np.int16)
    values[..., 1:] = (values[..., 1:] + 128) % 256  # Pillow keeps a and b as signed bytes
    histogram, _ = np.histogramdd(values.reshape(-1, 3), bins=BINS, range=[(0, 256)] * 3)
    for axis, bins in enumerate(BINS):
        near = np.exp(-0.5 * np.subtract.outer(range(bins), range(bins)) ** 2)
        histogram = np.moveaxis(np.tensordot(near / near.sum(0), histogram, (1, axis)), 0, axis)
    return histogram / histogram.sum()


def apart(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(lab_histogram(one) - lab_histogram(other)).sum() / 2)


class Bench:
    """Holds the painter, the classifiers and the pictures made on the way."""

    def __init__(self, artwork: Artwork, painter: NanoPainter, scale: float):
        self.artwork, self.painter, self.scale = artwork, painter, scale
        self.keys = nouns(artwork)
        self.content, self.plain_oracle, self.styled_oracle = content_classifier(artwork, self.keys)
        self.vae = painter._krea.vae
        self.style, self.technique_oracle, self.hand_oracle = style_classifier(artwork, self.vae)
        self.rows: list[dict] = []

    def count(self, number: int) -> int:
        return max(2, round(number * self.scale))

    def paint(self, key: str, references: Sequence = (), seed: int = 1) -> Image.Image:
        name = self.artwork.library.names[key]
        request = GenerationRequest(prompt=f"a {name}", creativity="raw")
        shown = [Reference(picture, strength) for picture, strength in references]
        return self.painter.paint(request, Materials(shown), MODELS["medium"], seed, lambda step: None).image

    def paint_unsketched(self, key: str, seed: int) -> Image.Image:
        """The thing painted from words alone: over the mean of all pictures instead of a sketch."""
        request = GenerationRequest(prompt=f"a {self.artwork.library.names[key]}", creativity="raw")
        painter = self.painter
        composed = compose(
            request, Materials(), MODELS["medium"], seed, painter._krea, painter._library, painter._wardrobe
        ).conditioning
        width, height = request.size
        mean = self.vae.unproject(torch.zeros(1, self.vae.config.latent_channels, height // 32, width // 32))
        blank = to_picture(mean).resize(request.size)
        return Engine(painter._krea).paint(replace(composed, sketch=blank), lambda step: None)

    def reference(self, number: int, technique: str | None = None) -> tuple[Image.Image, Style, str]:
        """A picture of another thing in an unseen style: the picture, its style, its key."""
        rng = random.Random(f"reference {number}")
        styles = (sample_style(STYLES + 9000 + rng.randrange(10**6)) for _ in range(500))
        style = next(s for s in styles if technique is None or s.look.technique == technique)
        key = rng.choice(self.keys)
        return as_picture(hero(key, style, self.artwork, rng), 1024), style, key

    def truth(self, keys: list[str], references: list) -> tuple[list[Image.Image], list[Image.Image]]:
        """Real renders of the things in the references' styles, and the same scenes plain."""
        styles = [style for _, style, _ in references]

        def drawn(looks: Sequence[Style | None]) -> list[Image.Image]:
            scenes = enumerate(zip(keys, looks, strict=True))
            return [
                as_picture(hero(k, look, self.artwork, random.Random(i)), 1024) for i, (k, look) in scenes
            ]

        return drawn(styles), drawn([None] * len(styles))

    def named(self, pictures: list[Image.Image]) -> Tensor:
        with torch.inference_mode():
            return self.content(torch.stack([small(to_tensor(p)[0]) for p in pictures]))[0].argmax(1)

    def first_right(self, pictures: list[Image.Image]) -> float:
        """How many of the pictures are named right, which are of the first keys, in their order."""
        return (self.named(pictures) == torch.arange(len(pictures))).float().mean().item()

    def looks(self, pictures: list[Image.Image]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            technique, hand = self.style(torch.stack([style_view(half(p), self.vae) for p in pictures]))
        return technique, hand

    def row(
        self, measure: str, value: float, goal: float, oracle=None, chance=None, below: bool = False
    ) -> None:
        met = value <= goal if below else value >= goal
        self.rows.append(
            {
                "measure": measure,
                "value": value,
                "oracle": oracle,
                "chance": chance,
                "goal": goal,
                "met": bool(met),
            }
        )
        wanted = f"{'≤' if below else '≥'} {goal}"
        print(f"{measure:58} {value:7.3f}  oracle {oracle}  chance {chance}  goal {wanted}", flush=True)


def measure_content(bench: Bench) -> None:
    count = bench.count(100)
    keys = bench.keys[:count]
    top = bench.first_right([bench.paint(key, seed=i) for i, key in enumerate(keys)])
    oracle = bench.plain_oracle
    bench.row("content top-1 of 200 nouns, no reference, ÷ oracle", top / oracle, 0.85, oracle, 1 / NOUNS)
    top = bench.first_right([bench.paint_unsketched(key, i) for i, key in enumerate(keys[: bench.count(25)])])
    bench.row("the same from words alone, without a sketch", top / oracle, 0.85, oracle, 1 / NOUNS)


def measure_references(bench: Bench) -> None:
    count = bench.count(200)
    references = [bench.reference(i) for i in range(count)]
    keys = [bench.keys[(7 * i + 3) % NOUNS] for i in range(count)]
    styled = [bench.paint(k, [(r[0], 1.0)], i) for i, (k, r) in enumerate(zip(keys, references, strict=True))]
    named = bench.named(styled)
    truth = torch.tensor([bench.keys.index(key) for key in keys])
    leaked = torch.tensor([bench.keys.index(key) for _, _, key in references])
    right = (named == truth).float().mean().item()
    oracle = bench.styled_oracle
    bench.row("content with a reference, ÷ oracle", right / oracle, 0.75, oracle, 1 / NOUNS)
    different = truth != leaked
    leak = (named == leaked)[different].float().mean().item() * NOUNS
    bench.row("leakage: classed as the reference's thing, × chance", leak, 1.5, None, 1.0, below=True)
    technique, hand = bench.looks(styled)
    labels = torch.tensor([style_labels(style) for _, style, _ in references])
    follows = (technique.argmax(1) == labels[:, 0]).float().mean().item()
    oracle = bench.technique_oracle
    bench.row(
        "technique follows the reference, ÷ oracle", follows / oracle, 0.75, oracle, 1 / len(TECHNIQUES)
    )
    shown = labels[:, 1] >= 0
    follows = (hand.argmax(1) == labels[:, 1])[shown].float().mean().item()
    bench.row(
        "hand follows the reference, ÷ oracle",
        follows / bench.hand_oracle,
        0.75,
        bench.hand_oracle,
        1 / len(HANDS),
    )
    some = count // 2
    plain = [bench.paint(key, seed=i) for i, key in enumerate(keys[:some])]
    bench.row(
        "palette: Lab distance to the reference ÷ without it",
        nearer(styled[:some], plain, references[:some]),
        0.35,
        nearer(*bench.truth(keys[:some], references[:some]), references[:some]),
        1.0,
        below=True,
    )


def nearer(styled: list[Image.Image], plain: list[Image.Image], references: list) -> float:
    """How far pictures are from their references, for each bit that plain ones are."""
    with_it = sum(apart(s, r[0]) for s, r in zip(styled, references, strict=True))
    return with_it / sum(apart(p, r[0]) for p, r in zip(plain, references, strict=True))


def measure_other_kinds(bench: Bench) -> None:
    shown, keys = [kind() for kind in OTHER_KINDS], bench.keys[80:]
    references = [(picture, None, None) for picture in shown]
    styled = [bench.paint(keys[i], [(picture, 1.0)], i) for i, picture in enumerate(shown)]
    plain = [bench.paint(keys[i], seed=i) for i in range(len(shown))]
    ratio = nearer(styled, plain, references)
    bench.row("palette of pictures of other kinds, with ÷ without", ratio, 0.5, None, 1.0, below=True)


def measure_strength(bench: Bench) -> None:
    """A ladder's score is what technique and palette say together, each in units of its spread over all
    ladders: within one that hardly moves, noise would count as much as change."""
    strengths, said = (0, 0.25, 0.5, 0.75, 1), []
    for i in range(bench.count(16)):
        picture, style, _ = bench.reference(500 + i, TECHNIQUES[1 + i % len(OPERATORS)])
        ladder = [bench.paint(bench.keys[i], [(picture, s)], i) for s in strengths]
        technique, _ = bench.looks(ladder)
        score = technique.log_softmax(1)[:, TECHNIQUES.index(style.look.technique)].numpy()
        said.append((score, [-apart(step, picture) for step in ladder]))
    scores = np.array(said)  # (ladders, 2, strengths)
    scores = (scores / scores.std((0, 2), keepdims=True)).sum(1)
    ranks = scores.argsort(1).argsort(1)
    found = [np.corrcoef(rank, np.arange(len(strengths)))[0, 1] for rank in ranks]
    bench.row("Spearman (strength, style score)", float(np.mean(found)), 0.95, 1.0, 0.0)


def measure_blend(bench: Bench) -> None:
    between, count = 0, bench.count(16)
    for i in range(count):
        (one, *_), (two, *_) = bench.reference(700 + i), bench.reference(800 + i)
        key = bench.keys[20 + i]
        first, second = bench.paint(key, [(one, 1.0)], i), bench.paint(key, [(two, 1.0)], i)
        both = bench.paint(key, [(one, 0.5), (two, 0.5)], i)
        span = apart(first, second)
        between += apart(both, first) < span and apart(both, second) < span
    bench.row("two references lie between the singles", between / count, 0.9, None, None)


def measure_push(bench: Bench) -> None:
    away, count = 0, bench.count(12)
    for i in range(count):
        picture, key = bench.reference(900 + i)[0], bench.keys[60 + i]
        plain, pushed = bench.paint(key, seed=i), bench.paint(key, [(picture, -0.5)], i)
        away += apart(pushed, picture) > apart(plain, picture)
    bench.row("strength -0.5 pushes away from the reference's palette", away / count, 0.9, None, 0.5)


def measure_seeds(bench: Bench) -> None:
    def spread(pictures: list[Tensor]) -> float:
        with torch.inference_mode():
            f = F.normalize(bench.content.features(torch.stack(pictures)), dim=-1)
        count = len(f)
        return float((1 - f @ f.T).sum() / (count * (count - 1)))

    made, real = [], []
    rng = random.Random(3)
    for key in bench.keys[40 : 40 + bench.count(6)]:
        made.append(spread([small(to_tensor(bench.paint(key, seed=s))[0]) for s in range(6)]))
        real.append(spread([small(hero(key, None, bench.artwork, rng)) for _ in range(6)]))
    bench.row("spread over seeds ÷ real pictures'", float(np.mean(made) / np.mean(real)), 0.7, None, None)


def measure_speed(bench: Bench) -> None:
    reference = bench.reference(1)[0]
    for name, shown in (("no reference", []), ("one reference", [(reference, 1.0)])):
        times = []
        for i in range(3):
            begun = time.perf_counter()
            bench.paint(bench.keys[0], shown, i)
            times.append(time.perf_counter() - begun)
        bench.row(f"seconds for a 1K picture, 8 steps, {name}", min(times), 4, None, None, below=True)
    size = sum(f.stat().st_size for f in SHIPPED.rglob("*") if f.is_file()) / 1e6
    bench.row("shipped size, MB", size, 40, None, None, below=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=SHIPPED)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of pictures")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    artwork = Artwork(args.artwork, Library(SHIPPED / "drawings.zip"))
    bench = Bench(artwork, NanoPainter.load(args.checkpoint), args.scale)
    measures = (
        measure_content,
        measure_references,
        measure_other_kinds,
        measure_strength,
        measure_blend,
        measure_push,
        measure_seeds,
        measure_speed,
    )
    for measure in measures:
        measure(bench)
    if args.json:
        print(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
