"""A scene: what stands where, on which ground. The planner writes one, the nano model paints over its
drawing."""

import io
import json
import math
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

TILT, LEAN = 10, 9  # degrees at full movement: of the ground, and of a subject on it
MARKS, STREAKS = 90, 40  # on a ground of full detail, at full movement
GROUNDS = ("flat", "gradient", "hills", "table", "stripes", "bokeh", "night", "water", "city")


@dataclass(frozen=True)
class Item:
    """One drawing in the scene."""

    drawing: str  # key in the library
    x: float  # centre, fraction of the width
    y: float  # centre, fraction of the height
    size: float  # longer side of the drawn shape, fraction of the picture's shorter side
    flip: bool = False
    angle: float = 0  # degrees, counter-clockwise
    tint: str | None = None  # "#rrggbb"


@dataclass(frozen=True)
class Ground:
    kind: str  # one of GROUNDS
    colours: tuple[str, str, str]  # sky or wall, ground or table, accent
    seed: int = 0  # places hills, stars and windows
    detail: float = 0  # -1..1: marks upon it; below 0 it fades to the colour of its sky or wall
    movement: float = 0  # -1..1: tilted and streaked; below 0 it is levelled

    @property
    def way(self) -> int:
        """To which side things move."""
        return 1 if self.seed % 2 else -1

    @property
    def tilt(self) -> float:
        """Degrees, counter-clockwise."""
        return TILT * max(0, self.movement) * self.way

    @property
    def dark(self) -> bool:
        return float(np.mean([rgb(colour) for colour in self.colours[:2]])) < 0.4


@dataclass(frozen=True)
class Scene:
    width: int
    height: int
    ground: Ground
    items: tuple[Item, ...]  # painted in this order

    def at(self, short_side: int) -> "Scene":
        """The same scene with `short_side` pixels on its shorter side."""
        scale = short_side / min(self.width, self.height)
        return replace(self, width=round(self.width * scale), height=round(self.height * scale))


PLAIN = "noto"  # the hand that drew every thing
LINES = "fluent-high-contrast"  # the hand that draws in black only


class Library:
    """The drawings a scene is made of: a zip file with an `index.json` of names and tags, and the SVG of each
    hand in a file of its own."""

    def __init__(self, path: Path):
        self._zip = zipfile.ZipFile(path)
        self._svgs = cache(self._read)
        index = json.loads(self._zip.read("index.json"))
        self.names: dict[str, str] = {key: entry["name"] for key, entry in index.items()}
        self.tags: dict[str, list[str]] = {key: entry["tags"] for key, entry in index.items()}
        self.groups: dict[str, str] = {key: entry["group"] for key, entry in index.items()}
        self.raster = lru_cache(maxsize=256)(self._raster)

    def kind(self, key: str) -> str:
        return "silhouette" if "/" in key else "emoji"

    def by(self, hand: str, dark: bool = False) -> Callable[[str, int], np.ndarray]:
        """How `hand` draws things, for `draw`; black lines are white on a `dark` ground."""

        def find(key: str, size: int) -> np.ndarray:
            shape = self.raster(key, size, hand)
            if dark and hand == LINES and self.kind(key) == "emoji":
                return np.concatenate([1 - shape[..., :3], shape[..., 3:]], -1)
            return shape

        return find

    def _read(self, hand: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self._zip.read(f"{hand}.json"))
        return found

    def _raster(self, key: str, size: int, hand: str = PLAIN) -> np.ndarray:
        """The drawing by `hand`, or by PLAIN where it never drew the thing, trimmed to its shape, longer side
        `size` pixels: (h, w, 4) float32 in 0..1."""
        if self.kind(key) == "silhouette":
            return raster(self._svgs("silhouettes")[key], size, silhouette=True)
        svg = self._svgs(hand).get(key) or self._svgs(PLAIN)[key]
        return raster(svg, size, silhouette=False)


def raster(svg: str, size: int, silhouette: bool) -> np.ndarray:
    """Draw `svg`, trimmed to its shape, longer side `size` pixels: (h, w, 4) float32 in 0..1."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=round(size * 1.2), height=round(size * 1.2))
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    if silhouette:  # white shape on a black square: the shape is what is white
        shape = picture.convert("L")
        picture = Image.merge("RGBA", (shape, shape, shape, shape))
    return trim(picture, size)


def trim(picture: Image.Image, size: int) -> np.ndarray:
    """Cut an RGBA picture to what is opaque and bring its longer side to `size` pixels."""
    box = picture.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox() or (0, 0, *picture.size)
    picture = picture.crop(box)
    scale = size / max(picture.size)
    picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
    return np.asarray(picture, dtype=np.float32) / 255


def rgb(colour: str) -> np.ndarray:
    """ "#rrggbb" to three floats in 0..1."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255


def draw(scene: Scene, find: Callable[[str, int], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Paint the scene plainly; `find(key, size)` gives a drawing (`Library.raster`).

    Returns the picture (H, W, 3) and the cover of its items (H, W), both float32 in 0..1.
    """
    canvas = draw_ground(scene.ground, scene.width, scene.height)
    cover = np.zeros(canvas.shape[:2], dtype=np.float32)
    draw_items(scene, canvas, cover, find)
    return canvas, cover


def draw_items(
    scene: Scene, canvas: np.ndarray, cover: np.ndarray, find: Callable[[str, int], np.ndarray]
) -> None:
    """Paint the scene's items on the canvas (H, W, 3), and their cover (H, W)."""
    for item in scene.items:
        size = max(4, round(item.size * min(scene.width, scene.height)))
        stamp(canvas, cover, place(find(item.drawing, size), item, scene.ground), item)


def place(shape: np.ndarray, item: Item, ground: Ground) -> np.ndarray:
    """The drawing as the item wants it: tinted, flipped, turned."""
    silhouette = "/" in item.drawing
    tint = item.tint or (ground.colours[2] if silhouette else None)
    if tint:
        shape = tinted(shape, rgb(tint), silhouette)
    if item.flip:
        shape = shape[:, ::-1]
    if item.angle:
        turned = Image.fromarray((shape * 255).astype(np.uint8), "RGBA")
        turned = turned.rotate(item.angle, Image.Resampling.BICUBIC, expand=True)
        shape = np.asarray(turned, dtype=np.float32) / 255
    return shape


def tinted(shape: np.ndarray, tint: np.ndarray, silhouette: bool) -> np.ndarray:
    """Recolour towards `tint`: light stays light and dark stays dark, what has colour takes the new one."""
    colour, alpha = shape[..., :3], shape[..., 3:]
    if silhouette:
        fall = np.linspace(1.08, 0.86, len(shape), dtype=np.float32)[:, None, None]
        return np.concatenate([np.clip(tint * fall, 0, 1) * np.ones_like(colour), alpha], axis=-1)
    light = colour.mean(-1, keepdims=True)
    middle = np.clip(light[alpha > 0.5].mean() if (alpha > 0.5).any() else 0.5, 0.2, 0.8)
    dark_to_tint, tint_to_light = light / middle, (light - middle) / (1 - middle)
    ramp = np.where(light < middle, tint * dark_to_tint, tint + (1 - tint) * tint_to_light)
    saturation = colour.max(-1, keepdims=True) - colour.min(-1, keepdims=True)
    grey = saturation[alpha > 0.5].mean() < 0.15 if (alpha > 0.5).any() else False  # an elephant, a car
    amount = np.clip((0.8 if grey else 0.15) + 2.5 * saturation, 0, 0.95)
    return np.concatenate([colour + amount * (ramp - colour), alpha], axis=-1)


def stamp(canvas: np.ndarray, cover: np.ndarray, shape: np.ndarray, item: Item) -> None:
    """Lay the shape over the canvas, centred where the item says, clipped at the frame."""
    height, width = cover.shape
    top, left = round(item.y * height - shape.shape[0] / 2), round(item.x * width - shape.shape[1] / 2)
    y0, x0, y1, x1 = (
        max(top, 0),
        max(left, 0),
        min(top + len(shape), height),
        min(left + shape.shape[1], width),
    )
    if y0 >= y1 or x0 >= x1:
        return
    part = shape[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = part[..., 3:]
    canvas[y0:y1, x0:x1] += alpha * (part[..., :3] - canvas[y0:y1, x0:x1])
    cover[y0:y1, x0:x1] = np.maximum(cover[y0:y1, x0:x1], alpha[..., 0])


def draw_ground(ground: Ground, width: int, height: int) -> np.ndarray:
    """The ground alone, (H, W, 3) float32 in 0..1."""
    aspect = width / height
    shapes = _GROUNDS[ground.kind](ground.colours, random.Random(ground.seed), aspect) + _marks(
        ground, aspect
    )
    if ground.tilt:
        shapes = _tilted(shapes + _streaks(ground, aspect), ground.tilt, aspect)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" viewBox="0 0 {1000 * width / height:.1f} 1000">{shapes}</svg>'
    )
    picture = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=width, height=height))))
    canvas = np.asarray(picture.convert("RGB").resize((width, height)), dtype=np.float32) / 255
    if ground.detail < 0:
        canvas = canvas - 0.9 * ground.detail * (rgb(ground.colours[0]) - canvas)
    if ground.movement < 0:
        canvas = canvas - 0.9 * ground.movement * (canvas.mean(1, keepdims=True) - canvas)
    return canvas


def _marks(ground: Ground, aspect: float) -> str:
    """Tufts or dashes on the land, larger towards the viewer, or confetti all over."""
    rng, shapes = random.Random(ground.seed + 1), ""
    top, mark = _MARKS.get(ground.kind, (0, _confetti))
    colours = [_mix(ground.colours[1], "#000000", 0.25), _mix(ground.colours[1], "#ffffff", 0.35)]
    for _ in range(round(MARKS * aspect * max(0, ground.detail))):
        x, y = rng.uniform(0, 1000 * aspect), rng.uniform(top, 1000)
        size = rng.uniform(0.7, 1.3) * (14 if not top else 8 + 22 * (y - top) / (1000 - top))
        colour = rng.choice([*colours, ground.colours[2]])
        shapes += f'<g fill="none" stroke="{colour}" stroke-width="{size / 4:.1f}" stroke-linecap="round">'
        shapes += f'<path transform="translate({x:.0f} {y:.0f})" d="{mark(size, rng)}"/></g>'
    return shapes


def _tuft(size: float, rng: random.Random) -> str:
    return f"M0 0L{-0.6 * size:.0f} {-size:.0f}M0 0L0 {-1.4 * size:.0f}M0 0L{0.6 * size:.0f} {-size:.0f}"


def _dash(size: float, rng: random.Random) -> str:
    return f"M{-1.6 * size:.0f} 0H{1.6 * size:.0f}"


def _confetti(size: float, rng: random.Random) -> str:
    x, y = (rng.uniform(-1, 1) * size for _ in "xy")
    return rng.choice(
        (f"M{-x:.0f} {-y:.0f}L{x:.0f} {y:.0f}", f"M{-size:.0f} 0H{size:.0f}M0 {-size:.0f}V{size:.0f}")
    )


_MARKS = {"hills": (700, _tuft), "night": (810, _tuft), "water": (640, _dash), "city": (830, _dash)}


def _tilted(shapes: str, degrees: float, aspect: float) -> str:
    """Turned about the middle, counter-clockwise, and as much larger as covers the frame."""
    turn = math.radians(abs(degrees))
    scale = math.cos(turn) + math.sin(turn) * max(aspect, 1 / aspect)
    middle = f"{500 * aspect:.0f} 500"
    back = f"{-500 * aspect:.0f} -500"
    return (
        f'<g transform="translate({middle}) rotate({-degrees:.2f}) scale({scale:.3f}) translate({back})">'
        f"{shapes}</g>"
    )


def _streaks(ground: Ground, aspect: float) -> str:
    """Lines that things in motion leave behind, pointed at both ends."""
    rng, shapes = random.Random(ground.seed + 2), ""
    for _ in range(round(STREAKS * ground.movement)):
        x, y = rng.uniform(-100, 1000 * aspect), rng.uniform(0, 1000)
        length, thick = rng.uniform(160, 560), rng.uniform(4, 16)
        colour, opacity = rng.choice(("#ffffff", "#ffffff", ground.colours[2])), rng.uniform(0.3, 0.75)
        points = f"{x:.0f},{y:.0f} {x + 0.8 * length:.0f},{y - thick / 2:.1f} "
        points += f"{x + length:.0f},{y:.0f} {x + 0.8 * length:.0f},{y + thick / 2:.1f}"
        shapes += f'<polygon points="{points}" fill="{colour}" fill-opacity="{opacity:.2f}"/>'
    return shapes


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" fill="{colour}"/>'


def _box(colour: str, top: float = 0, height: float = 1000) -> str:
    """A band across the whole picture."""
    return _rect(-10, top, 4000, height, colour)


def _fade(upper: str, lower: str, end: float = 1000) -> str:
    return (
        f'<linearGradient id="f" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="{upper}"/>'
        f'<stop offset="1" stop-color="{lower}"/></linearGradient>{_box("url(#f)", 0, end)}'
    )


def _mix(one: str, other: str, amount: float) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in (1 - amount) * rgb(one) + amount * rgb(other))


def _hill(colour: str, top: float, swing: float, rng: random.Random, aspect: float) -> str:
    """A rolling line from left to right at about `top`, filled down to the bottom."""
    phase, waves = rng.uniform(0, 6.3), rng.uniform(0.6, 1.6)
    points = [
        (x * aspect * 10, top + swing * math.sin(phase + waves * aspect * x / 16)) for x in range(-2, 103, 3)
    ]
    line = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
    return f'<polygon points="-30,1100 {line} {1100 * aspect:.0f},1100" fill="{colour}"/>'


def _flat(colours, rng, aspect):
    return _box(colours[0])


def _gradient(colours, rng, aspect):
    return _fade(colours[0], colours[1])


def _hills(colours, rng, aspect):
    sky, land, _ = colours
    horizon = rng.uniform(560, 700)
    far = _hill(_mix(land, sky, 0.45), horizon - rng.uniform(40, 90), rng.uniform(20, 60), rng, aspect)
    return (
        _fade(sky, _mix(sky, "#ffffff", 0.35)) + far + _hill(land, horizon, rng.uniform(15, 50), rng, aspect)
    )


def _table(colours, rng, aspect):
    wall, table, _ = colours
    edge = rng.uniform(640, 740)
    top = _box(table, edge, 1000) + _box(_mix(table, "#000000", 0.25), edge, 14)
    return _fade(wall, _mix(wall, "#ffffff", 0.2), edge) + top


def _stripes(colours, rng, aspect):
    count, angle = rng.randint(5, 10), rng.choice((0, 30, 45, 90, 135))
    step = 2400 / count / 2
    bars = "".join(_rect(-1200 + 2 * i * step, -1200, step, 2400, colours[1]) for i in range(count))
    return _box(colours[0]) + f'<g transform="translate({500 * aspect:.0f} 500) rotate({angle})">{bars}</g>'


def _spots(colour, rng, aspect, count, small, large, lowest=1000, opacity=(0.15, 0.5)):
    return "".join(
        f'<circle cx="{rng.uniform(0, 1000 * aspect):.0f}" cy="{rng.uniform(0, lowest):.0f}" '
        f'r="{rng.uniform(small, large):.1f}" fill="{colour}" fill-opacity="{rng.uniform(*opacity):.2f}"/>'
        for _ in range(round(count * aspect))
    )


def _bokeh(colours, rng, aspect):
    spots = _spots(colours[2], rng, aspect, 12, 30, 110) + _spots(
        "#ffffff", rng, aspect, 8, 20, 80, opacity=(0.1, 0.3)
    )
    return _fade(colours[0], colours[1]) + spots


def _night(colours, rng, aspect):
    sky, land, accent = colours
    stars = _spots(_mix(accent, "#ffffff", 0.6), rng, aspect, 45, 2, 7, 700, opacity=(0.5, 1))
    return (
        _fade(sky, _mix(sky, land, 0.5))
        + stars
        + _hill(land, rng.uniform(720, 800), rng.uniform(10, 40), rng, aspect)
    )


def _water(colours, rng, aspect):
    sky, sea, _ = colours
    horizon = rng.uniform(520, 640)
    bands = "".join(
        _hill(_mix(sea, "#ffffff", 0.22 - 0.07 * i), horizon + 90 * i + 8, 7, rng, 4 * aspect)
        for i in range(4)
    )
    return _fade(sky, _mix(sky, "#ffffff", 0.4), horizon) + _box(_mix(sea, "#ffffff", 0.28), horizon) + bands


def _city(colours, rng, aspect):
    sky, road, accent = colours
    houses, x = "", -20.0
    while x < 1000 * aspect:
        width, height = rng.uniform(90, 180), rng.uniform(200, 520)
        wall = _mix(_mix(sky, road, rng.uniform(0.35, 0.6)), accent, rng.uniform(0, 0.25))
        houses += _rect(x, 800 - height, width, height, wall)
        pane = _mix(wall, "#ffffff", 0.35)
        for row in range(int(height // 80)):
            for column in range(int(width // 45)):
                houses += _rect(x + 14 + column * 45, 815 - height + row * 80, 20, 34, pane)
        x += width + rng.uniform(0, 30)
    return (
        _fade(sky, _mix(sky, "#ffffff", 0.3))
        + houses
        + _box(road, 800)
        + _box(_mix(road, "#ffffff", 0.2), 800, 16)
    )


_GROUNDS = {
    "flat": _flat,
    "gradient": _gradient,
    "hills": _hills,
    "table": _table,
    "stripes": _stripes,
    "bokeh": _bokeh,
    "night": _night,
    "water": _water,
    "city": _city,
}
