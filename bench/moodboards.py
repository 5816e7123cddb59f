"""Measures of moodboards: does a board pull harder than its best picture, and does a mixed one vary?

python bench/moodboards.py ARTWORK [--json] [--scale 1.0]

The classifiers, and how far palettes are apart, are those of bench/nano_quality.py.
"""

import argparse
import json
import random
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from nano_quality import STYLES, Bench, apart, as_picture, hero
from PIL import Image

from easel.catalog import MODELS
from easel.model.look import TECHNIQUES
from easel.model.operators import OPERATORS
from easel.schema.generation import GenerationRequest
from easel.schema.painting import Materials, Mood, Reference
from easel.style.moodboards import acting
from easel.style.painter import SHIPPED, NanoPainter
from easel.style.scene import Library
from easel.train.data import Artwork
from easel.train.styles import Style, sample_style

PICTURES = 24  # of a board
STRENGTH = 0.35
SEEDS = 8  # that show how a board varies
ROOM = 64  # pictures are compared at so many pixels a side


class Board:
    """Pictures of some styles, of a thing each, and what the painter reads in them."""

    def __init__(self, bench: Bench, styles: Sequence[Style], number: int):
        rng = random.Random(f"board {number}")
        self.bench, self.styles = bench, styles
        self.pictures = [
            as_picture(hero(rng.choice(bench.keys), styles[i % len(styles)], bench.artwork, rng), 512)
            for i in range(PICTURES)
        ]
        self.taste = bench.painter.analyse(iter(self.pictures))

    def paint(self, key: str, seed: int) -> Image.Image:
        """The thing in the board's direction."""
        shown = acting(self.taste.clusters, STRENGTH, seed)
        mood = Mood(self.taste.keywords, self.taste.avoids)
        return self._painted(key, [(self.pictures[place], s) for place, s in shown], mood, seed)

    def paint_by_one(self, place: int, key: str, seed: int) -> Image.Image:
        """The thing by one of the board's pictures alone."""
        return self._painted(key, [(self.pictures[place], STRENGTH)], Mood(), seed)

    def _painted(self, key: str, shown: Sequence, mood: Mood, seed: int) -> Image.Image:
        name = self.bench.artwork.library.names[key]
        request = GenerationRequest(prompt=f"a {name}", creativity="low")
        references = [Reference(picture, strength) for picture, strength in shown]
        painter = self.bench.painter
        return painter.paint(
            request, Materials(references, mood), MODELS["medium"], seed, lambda step: None
        ).image

    def near(self, painted: Sequence[Image.Image]) -> np.ndarray:
        """How near pictures are to the board's first style, (2, pictures): by technique and by palette."""
        technique, _ = self.bench.looks(list(painted))
        named = technique.log_softmax(1)[:, TECHNIQUES.index(self.styles[0].look.technique)].numpy()
        small = [picture.resize((ROOM, ROOM)) for picture in self.pictures]
        palette = [-np.mean([apart(one, other) for other in small]) for one in painted]
        return np.array([named, palette])


def styles_of(number: int, count: int) -> list[Style]:
    """Unseen styles, each of a technique of its own."""
    rng, found = random.Random(f"styles {number}"), {}
    names = rng.sample(sorted(OPERATORS), count)
    while len(found) < count:
        style = sample_style(STYLES + 9000 + rng.randrange(10**6))
        if style.look.technique in names:
            found.setdefault(style.look.technique, style)
    return list(found.values())


def measure_direction(bench: Bench) -> None:
    """Both measures count in units of their spread over all that was painted.

    The best of many pictures on the very paintings that judge it is partly luck, so it is also chosen on the
    paintings of the other things.
    """
    scores, singles = [], range(0, PICTURES, max(1, round(1 / bench.scale)))
    for number in range(bench.count(12)):
        board = Board(bench, styles_of(number, 1), number)
        keys = [(bench.keys[10 * number + i], number + i) for i in range(bench.count(3))]
        painted = [[board.paint(key, seed) for key, seed in keys]]
        painted += [[board.paint_by_one(place, key, seed) for key, seed in keys] for place in singles]
        scores.append(np.stack([board.near(pictures) for pictures in painted]))
    found = np.array(scores)  # (boards, 1 + singles, 2, things)
    joined = (found / found.mean(3).std((0, 1))[:, None]).sum(2)
    chance = 1 / joined.shape[1]
    ahead = [one[0].mean() - one[1:].mean() for one in joined]
    bench.row("a board is nearer to its direction than a picture of it", share(ahead), 0.9, None, 0.5)
    ahead = [one[0].mean() - one[1:].mean(1).max() for one in joined]
    bench.row("nearer than its best picture, chosen by the same paintings", share(ahead), 0.9, None, chance)
    bench.row("nearer than its best picture, chosen by others", share(map(apart_from_luck, joined)), 0.9)


def apart_from_luck(board: np.ndarray) -> float:
    """How much nearer a board is than its best picture, (1 + singles, things), which for each thing is the
    best with all others."""
    things = range(board.shape[1])
    best = [board[1:, [i for i in things if i != thing]].mean(1).argmax() for thing in things]
    return float(np.mean([board[0, thing] - board[1 + place, thing] for thing, place in enumerate(best)]))


def share(ahead: Iterable[float]) -> float:
    return float(np.mean([one > 0 for one in ahead]))


def measure_variety(bench: Bench) -> None:
    spread: dict[int, list[float]] = {1: [], 6: []}
    named: dict[int, list[int]] = {1: [], 6: []}
    for number in range(bench.count(6)):
        for count in spread:
            board = Board(bench, styles_of(100 + number, count), 100 + number)
            painted = [board.paint(bench.keys[number], seed) for seed in range(SEEDS)]
            spread[count].append(np.mean([apart(one, other) for one, other in combinations(painted, 2)]))
            named[count].append(len(set(bench.looks(painted)[0].argmax(1).tolist())))
    bench.row(
        "palettes over seeds, mixed board ÷ one direction", np.mean(spread[6]) / np.mean(spread[1]), 1.2
    )
    bench.row(
        "techniques over seeds, mixed board ÷ one direction", np.mean(named[6]) / np.mean(named[1]), 1.5
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("artwork", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of boards and pictures")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    artwork = Artwork(args.artwork, Library(SHIPPED / "drawings.zip"))
    bench = Bench(artwork, NanoPainter.load(), args.scale)
    measure_direction(bench)
    measure_variety(bench)
    if args.json:
        print(json.dumps(bench.rows, indent=1))


if __name__ == "__main__":
    main()
