"""Where things stand: boxes of drawings, put beside, on, behind each other, then fitted into the frame.

All lengths are fractions of the picture's shorter side; y runs down.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from easel.style.scene import Item

GAP = 0.06  # between neighbours, as a share of a box of size 1
MARGIN = 0.03  # kept free at the frame


@dataclass(frozen=True)
class Part:
    """One drawing in a box."""

    drawing: str
    x: float
    y: float
    size: float
    width: float
    height: float
    flip: bool = False
    angle: float = 0.0
    tint: str | None = None


@dataclass(frozen=True)
class Box:
    """Drawings with the rectangle around them, painted in order."""

    parts: tuple[Part, ...]

    @property
    def left(self) -> float:
        return min(part.x - part.width / 2 for part in self.parts)

    @property
    def right(self) -> float:
        return max(part.x + part.width / 2 for part in self.parts)

    @property
    def top(self) -> float:
        return min(part.y - part.height / 2 for part in self.parts)

    @property
    def bottom(self) -> float:
        return max(part.y + part.height / 2 for part in self.parts)

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def centre(self) -> float:
        return (self.left + self.right) / 2

    def moved(self, x: float, y: float) -> "Box":
        return Box(tuple(replace(part, x=part.x + x, y=part.y + y) for part in self.parts))

    def scaled(self, by: float) -> "Box":
        return Box(
            tuple(
                replace(
                    part,
                    x=part.x * by,
                    y=part.y * by,
                    size=part.size * by,
                    width=part.width * by,
                    height=part.height * by,
                )
                for part in self.parts
            )
        )

    def turned(self, degrees: float, about: tuple[float, float], lean: float = 0) -> "Box":
        """Turned about a point, counter-clockwise, and each part by `lean` more about its own middle."""
        x, y = about
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        return Box(
            tuple(
                replace(
                    part,
                    x=x + cosine * (part.x - x) + sine * (part.y - y),
                    y=y - sine * (part.x - x) + cosine * (part.y - y),
                    angle=part.angle + degrees + lean,
                )
                for part in self.parts
            )
        )

    def at(self, centre: float, bottom: float) -> "Box":
        return self.moved(centre - self.centre, bottom - self.bottom)

    def overlaps(self, other: "Box", gap: float = 0.0) -> bool:
        return (
            self.left < other.right + gap
            and other.left < self.right + gap
            and self.top < other.bottom + gap
            and other.top < self.bottom + gap
        )


def drawn(drawing: str, size: float, aspect: float, flip: bool, angle: float, tint: str | None) -> Box:
    """A box of one drawing; `aspect` is its width by its height, upright."""
    wide, high = (size, size / aspect) if aspect > 1 else (size * aspect, size)
    sine, cosine = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    return Box(
        (
            Part(
                drawing,
                0,
                0,
                size,
                wide * cosine + high * sine,
                wide * sine + high * cosine,
                flip,
                angle,
                tint,
            ),
        )
    )


def beside(boxes: Sequence[Box], gap: float = GAP) -> Box:
    """From left to right on one line."""
    parts: tuple[Part, ...] = ()
    edge = 0.0
    for box in boxes:
        box = box.moved(edge - box.left, -box.bottom)
        parts += box.parts
        edge = box.right + gap
    return Box(parts)


def above(upper: Box, lower: Box, gap: float = GAP) -> Box:
    return Box(lower.parts + upper.at(lower.centre, lower.top - gap).parts)


def on(rider: Box, ride: Box, seat: float, rng: random.Random) -> Box:
    """The rider on the ride, sunk in a little; `seat` is how far down it sits, 0 on top."""
    rider = rider.scaled(min(1.0, 0.9 * max(ride.width, 0.6 * ride.height) / max(rider.width, rider.height)))
    offset = rng.uniform(-0.12, 0.12) * ride.width
    return Box(
        ride.parts + rider.at(ride.centre + offset, ride.top + seat * ride.height + 0.06 * rider.height).parts
    )


def inside(content: Box, holder: Box) -> Box:
    """The content looks out of the holder."""
    content = content.scaled(0.72 * holder.width / content.width)
    return Box(
        content.at(holder.centre, holder.top + 0.45 * min(holder.height, content.height)).parts + holder.parts
    )


def in_front(front: Box, back: Box, side: int) -> Box:
    """The front covers a lower corner of what is behind it."""
    back = back.scaled(max(1.0, 1.5 * front.height / back.height))
    return Box(
        back.parts + front.at(back.centre + side * 0.34 * back.width, back.bottom + 0.1 * front.height).parts
    )


def under(lower: Box, upper: Box, side: int) -> Box:
    """Under a tree or an umbrella: before its foot."""
    upper = upper.scaled(max(1.0, 2.0 * lower.height / upper.height))
    return Box(upper.parts + lower.at(upper.centre + side * 0.2 * upper.width, upper.bottom + 0.06).parts)


def worn(wearer: Box, worn: Box, place: tuple[float, float]) -> Box:
    """A hat on the head of the wearer; `place` is how far down and how large."""
    worn = worn.scaled(place[1] * min(wearer.width, wearer.height) / worn.width)
    bottom = (
        wearer.top + place[0] * wearer.height + (worn.height * 0.5 if place[0] > 0.1 else worn.height * 0.3)
    )
    return Box(wearer.parts + worn.at(wearer.centre, bottom).parts)


def rows(boxes: Sequence[Box], width: float, height: float, deepest: float, rng: random.Random) -> Box:
    """The boxes in as many rows as make them largest, the last in front, `deepest` from first to last."""
    arranged = [stacked(boxes, count, width / height, rng) for count in range(1, len(boxes) + 1)]
    scales = [min(width / box.width, height / box.height) for box in arranged]
    fitting = [
        (box, scale)
        for box, scale in zip(arranged, scales, strict=True)
        if box is arranged[0] or scale * (box.height - min(part.height for part in box.parts)) <= deepest
    ]
    best = max(scale for _, scale in fitting)
    return rng.choice([box for box, scale in fitting if scale > 0.93 * best])


def stacked(boxes: Sequence[Box], count: int, aspect: float, rng: random.Random) -> Box:
    """`count` rows of neighbours, shifted a little against each other; a wide frame spreads its one row."""
    gap = GAP
    if count == 1 and len(boxes) > 1:
        high, wide = max(box.height for box in boxes), sum(box.width for box in boxes)
        gap = min(max(gap, (0.8 * aspect * high - wide) / (len(boxes) - 1)), 0.4 * high)
    short, longer = divmod(len(boxes), count)
    parts: tuple[Part, ...] = ()
    start, bottom = 0, 0.0
    for row in range(count):
        size = short + (row >= count - longer)
        line = beside(boxes[start : start + size], gap)
        shift = rng.uniform(-0.1, 0.1) * line.width if count > 1 else 0.0
        line = line.moved(shift - line.centre, bottom - line.top)
        parts += line.parts
        start, bottom = start + size, line.bottom + GAP
    return Box(parts)


def pattern(boxes: Sequence[Box], width: float, height: float, rng: random.Random, density: float = 1) -> Box:
    """The boxes over and over, on a grid with every other row shifted."""
    step = rng.choice((0.25, 0.31, 0.38)) / density
    angle = rng.choice((0.0, 0.0, 15.0))
    columns, lines = max(2, int(width / step)), max(2, int(height / step))
    across, down = width / columns, height / lines
    parts: tuple[Part, ...] = ()
    for line in range(lines):
        shift = 0.2 if line % 2 else -0.2
        for column in range(columns):
            box = boxes[(line + column) % len(boxes)]
            box = box.scaled(0.6 * min(across, down) / max(box.width, box.height))
            middle = (line + 0.5) * down
            x = (column + 0.5 + shift) * across
            box = box.moved(x - box.centre, middle - (box.top + box.bottom) / 2)
            turn = angle * (-1 if (line + column) % 2 else 1)
            parts += tuple(replace(part, angle=part.angle + turn) for part in box.parts)
    return Box(parts)


def scattered(
    box: Box, area: tuple[float, float, float, float], taken: Sequence[Box], rng: random.Random
) -> list[Box]:
    """The box somewhere in the area (left, right, top, bottom) where it touches nothing, if there is room."""
    left, right, top, bottom = area
    for _ in range(40):
        x = rng.uniform(left + box.width / 2, max(left, right - box.width) + box.width / 2)
        moved = box.at(x, rng.uniform(min(top + box.height, bottom), bottom))
        if not any(moved.overlaps(other, 0.02) for other in taken):
            return [moved]
    return []


def kept(box: Box, width: float, height: float) -> Box:
    """Moved, and shrunk where need be, until it lies inside the frame."""
    box = box.scaled(min(1.0, (width - 2 * MARGIN) / box.width, (height - 2 * MARGIN) / box.height))
    x = max(0.0, MARGIN - box.left) - max(0.0, box.right - (width - MARGIN))
    y = max(0.0, MARGIN - box.top) - max(0.0, box.bottom - (height - MARGIN))
    return box.moved(x, y)


def items(box: Box, width: float, height: float) -> tuple[Item, ...]:
    """The parts as the scene wants them: centres as fractions of the frame."""
    return tuple(
        Item(
            drawing=part.drawing,
            x=round(part.x / width, 4),
            y=round(part.y / height, 4),
            size=round(part.size, 4),
            flip=part.flip,
            angle=round(part.angle, 1),
            tint=part.tint,
        )
        for part in box.parts
    )
