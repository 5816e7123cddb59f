"""Which pictures of a moodboard act as references in one picture."""

import random
from collections.abc import Sequence

from easel.schema.painting import Alike

MOST = 4  # pictures that act at once


def acting(clusters: Sequence[Alike], strength: float, seed: int) -> list[tuple[int, float]]:
    """Medoids and their strengths, which add up to `strength`.

    The seed picks one of the board's directions, the likelier the more pictures it has, and up to MOST of its
    clusters; each acts in proportion to its weight.
    """
    rng = random.Random(f"{seed} moodboard")
    weights = [cluster.weight for cluster in clusters]
    direction = rng.choices(clusters, weights)[0].direction
    drawn = [(rng.random() ** (1 / c.weight), c) for c in clusters if c.direction == direction]
    chosen = [cluster for _, cluster in sorted(drawn, key=lambda one: one[0], reverse=True)[:MOST]]
    whole = sum(cluster.weight for cluster in chosen)
    return [(cluster.medoid, strength * cluster.weight / whole) for cluster in chosen]
