"""The taste of a moodboard, as far as the reader of looks can tell: its directions, colours and words."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from easel.model.look import HANDS, MANNERS, PALETTES, TECHNIQUES, hls
from easel.model.palette import oklab, palette_of, srgb
from easel.model.reader import LookReader
from easel.schema.moodboards import Swatch
from easel.schema.painting import Alike, Taste
from easel.style.references import reference_sheet, seen
from easel.style.vocabulary import CLASHES, COLOURS, SLOTS

APART = 0.6  # mean distance of two groups of pictures from which they are two directions
MOST_DIRECTIONS = 8
MOST_CLUSTERS = 4  # of a direction
SWATCHES = 6
SMALL = 32  # pixels a side of a picture whose colours are counted
EVEN = 0.07  # spread of the colours at a plain picture's border, in Oklab
DARK, BRIGHT = 0.4, 0.85  # mean lightness
TONED = 0.45  # the amount of a palette from which it is named
SURE = 0.4  # the share of its likeliest technique from which it is named
HALF = 0.5  # of the pictures, from which a board's words hold

DRAWN = ("softly shaded", "in flat shapes", "modelled in light", "in black lines")  # of MANNERS


class Read(NamedTuple):
    """What is told of one picture."""

    technique: Tensor  # (TECHNIQUES,), adding up to 1
    manner: Tensor  # (MANNERS,), adding up to 1
    tones: Tensor  # (3, 3), its dark, middle and light colours, in Oklab
    ramp: Tensor  # (3, 3), of the palette that it was put in, in Oklab
    toned: float  # how far it was put in it
    small: Tensor  # (3, SMALL, SMALL)
    plain: bool  # its ground


class Words(NamedTuple):
    """What is said of a direction: as "slot:key" of the vocabulary, and how it is drawn."""

    facts: list[str]
    drawn: str


@torch.inference_mode()
def taste(pictures: Iterable[Image.Image], reader: LookReader) -> Taste:
    """Read the pictures, group them, and find words."""
    found = [read(picture, reader) for picture in pictures]
    apart = distances(found)
    groups = directions(apart)
    said = [words([found[place] for place in group]) for group in groups]
    clusters = [
        Alike(medoid, len(members) / len(found), direction)
        for direction, group in enumerate(groups)
        for medoid, members in clusters_of(group, apart)
    ]
    shares: Counter[str] = Counter()
    for group, (facts, _) in zip(groups, said, strict=True):
        shares.update(dict.fromkeys(facts, len(group)))
    common = [fact for fact, share in shares.items() if share >= HALF * len(found)]
    return Taste(
        clusters=clusters,
        palette=swatches(found),
        profile=profile(found, groups, said),
        keywords=[phrase(fact) for fact in common],
        avoids=avoids(common, found),
    )


def read(picture: Image.Image, reader: LookReader) -> Read:
    """What the reader tells of a picture, and what its colours do."""
    shown = seen(reference_sheet(picture), 1.0)
    guess = reader(shown.sheet, shown.statistics)
    hands = dict(zip(HANDS, guess.hand[0].softmax(0), strict=True))
    view = shown.sheet.chunk(2, 2)[0]
    small = F.adaptive_avg_pool2d(view, SMALL)[0]
    lab = oklab(small.movedim(0, -1))
    by_light = lab.flatten(0, 1)[lab[..., 0].flatten().argsort()]
    inner = torch.zeros(SMALL, SMALL, dtype=torch.bool)
    inner[SMALL // 8 : -SMALL // 8, SMALL // 8 : -SMALL // 8] = True
    return Read(
        technique=guess.technique[0].softmax(0),
        manner=torch.stack([sum((hands[hand] for hand in manner), torch.zeros(())) for manner in MANNERS]),
        tones=torch.stack([part.mean(0) for part in by_light.tensor_split(3)]),
        ramp=oklab(guess.ramp[0]),
        toned=guess.amount.item(),
        small=small,
        plain=lab[~inner].std(0).norm().item() < EVEN,
    )


def distances(found: Sequence[Read]) -> np.ndarray:
    """How different pictures are, (n, n): 1 for another technique, as much for colours of the other side."""
    technique = torch.stack([one.technique for one in found])
    manner = torch.stack([one.manner for one in found])
    tones = torch.stack([one.tones.flatten() for one in found])
    return (
        torch.cdist(technique, technique, p=1) / 2
        + torch.cdist(manner, manner, p=1) * 0.15
        + torch.cdist(tones, tones)
    ).numpy()


def directions(apart: np.ndarray) -> list[list[int]]:
    """Pictures in groups, the largest first: the nearest groups are joined until all are APART."""
    groups = [[place] for place in range(len(apart))]
    between = apart + np.diag(np.full(len(apart), np.inf))
    while len(groups) > 1:
        one, other = sorted(np.unravel_index(between.argmin(), between.shape))
        if between[one, other] > APART and len(groups) <= MOST_DIRECTIONS:
            break
        sizes = len(groups[one]), len(groups[other])
        joined = np.average(between[[one, other]], 0, sizes)
        between[one], between[:, one], between[one, one] = joined, joined, np.inf
        between = np.delete(np.delete(between, other, 0), other, 1)
        groups[one] += groups.pop(other)
    return sorted((sorted(group) for group in groups), key=len, reverse=True)


def clusters_of(group: list[int], apart: np.ndarray) -> list[tuple[int, list[int]]]:
    """The pictures of a direction around up to MOST_CLUSTERS medoids: each medoid, and those near to it."""
    medoids = [central(group, apart)]
    while len(medoids) < min(MOST_CLUSTERS, len(group)):
        medoids.append(max(group, key=lambda place: float(apart[place, medoids].min())))
    for _ in range(10):
        nearest = apart[np.ix_(group, medoids)].argmin(1)
        near = [
            [place for place, own in zip(group, nearest, strict=True) if own == i]
            for i in range(len(medoids))
        ]
        clusters = [members for members in near if members]  # of two medoids that look the same, one has none
        medoids = [central(members, apart) for members in clusters]
    return list(zip(medoids, clusters, strict=True))


def central(group: list[int], apart: np.ndarray) -> int:
    """The picture that is least far from the others."""
    return min(group, key=lambda place: apart[place, group].sum())


def words(found: Sequence[Read]) -> Words:
    """What there is to say of pictures of one direction."""
    facts = []
    technique = torch.stack([one.technique for one in found]).mean(0)
    name = TECHNIQUES[int(technique.argmax())]
    if technique.max() > SURE and name in SLOTS["medium"]:
        facts.append(f"medium:{name}")
    if np.mean([one.toned for one in found]) > TONED:
        facts.append(f"palette:{named_palettes(found)[0]}")
    light = lightness(found)
    if light < DARK or light > BRIGHT:
        facts.append("light:night" if light < DARK else "light:day")
    if np.mean([one.plain for one in found]) > HALF:
        facts.append("setting:plain")
    manner = torch.stack([one.manner for one in found]).mean(0)
    return Words(facts, DRAWN[int(manner.argmax())])


def named_palettes(found: Sequence[Read]) -> list[str]:
    """All palettes that have names, the one nearest to the pictures' first."""
    ramp = torch.stack([one.ramp for one in found]).mean(0)
    own = {
        name: oklab(torch.stack([hls(h, light, saturation) for h, light in zip(hues, lights, strict=True)]))
        for name, (hues, saturation, lights, _) in PALETTES.items()
    }
    return sorted(own, key=lambda name: (own[name] - ramp).norm(dim=1).mean().item())


def lightness(found: Sequence[Read]) -> float:
    return torch.stack([one.tones[:, 0] for one in found]).mean().item()


def swatches(found: Sequence[Read]) -> list[Swatch]:
    """The colours of all pictures together, the commonest first."""
    palette = palette_of(torch.cat([one.small for one in found], 1))
    order = palette.weights.argsort(descending=True)[:SWATCHES]
    colours = (srgb(palette.colours[order]) * 255).round().int().tolist()
    return [
        Swatch(colour="#{:02x}{:02x}{:02x}".format(*colour), weight=round(weight, 3))
        for colour, weight in zip(colours, palette.weights[order].tolist(), strict=True)
    ]


def profile(found: Sequence[Read], groups: Sequence[list[int]], said: Sequence[Words]) -> str:
    """The board in prose."""
    count = "one direction" if len(groups) == 1 else f"{len(groups)} directions"
    sentences = [f"{len(found)} picture{'s' * (len(found) > 1)} in {count}."]
    for group, (facts, drawn) in zip(groups, said, strict=True):
        colours = " and ".join(colour_names(swatches([found[place] for place in group])))
        told = ", ".join([*(phrase(fact) for fact in facts), f"drawn {drawn}", f"mostly {colours}"])
        sentences.append(f"{len(group)} of them: {told}." if len(groups) > 1 else f"{told.capitalize()}.")
    return " ".join(sentences)


def colour_names(palette: Sequence[Swatch]) -> list[str]:
    """The names of the three commonest colours, each once."""
    names = list(COLOURS)
    known = oklab(torch.stack([rgb(COLOURS[name]) for name in names]))
    nearest = [names[int((known - oklab(rgb(swatch.colour))).norm(dim=1).argmin())] for swatch in palette[:3]]
    return list(dict.fromkeys(nearest))


def rgb(colour: str) -> Tensor:
    return torch.tensor([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def avoids(facts: Sequence[str], found: Sequence[Read]) -> list[str]:
    """What goes ill with what the pictures have in common, and the palettes that are furthest from it."""
    against = [
        f"palette:{name}" for name in named_palettes(found)[-2:] if any("palette:" in f for f in facts)
    ]
    clashing = [other for fact in facts for other in CLASHES.get(fact, ())]
    lights = {"light:night": "light:day", "light:day": "light:night"}
    against += [*clashing, *(lights[fact] for fact in facts if fact in lights)]
    return [phrase(fact) for fact in dict.fromkeys(against)]


def phrase(fact: str) -> str:
    """How the vocabulary says "slot:key"."""
    slot, key = fact.split(":")
    return SLOTS[slot][key][0]
