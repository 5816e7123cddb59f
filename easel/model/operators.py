"""Techniques as tensor code: each turns a plainly drawn scene into ink, paint, print, glass, clay, pixels…

An operator takes the picture (3, H, W) in 0..1, the cover of its objects (H, W), its parameters, the `unit`
(pixels in 1/512 of the side of a square picture as large) and a generator for its chance, and returns a
picture. `OPERATORS` holds them with the ranges of their parameters.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = torch.tensor([0.299, 0.587, 0.114])


def luma(x: Tensor) -> Tensor:
    return (x * LUMA[:, None, None].to(x)).sum(0)  # (H, W)


def smoothed(x: Tensor, taps: Tensor) -> Tensor:
    """Each row and each column of (..., H, W) weighed by `taps` (2r+1,), edges repeated."""
    planes = [along(along(plane, taps).T.contiguous(), taps).T for plane in x.reshape(-1, *x.shape[-2:])]
    return torch.stack(planes).reshape(x.shape)


def along(plane: Tensor, taps: Tensor) -> Tensor:
    """Rows of (H, W) weighed by `taps`. Shifted sums: convolutions of one channel are ten times slower."""
    width, radius = plane.shape[1], len(taps) // 2
    wide = F.pad(plane[None], (radius, radius), mode="replicate")[0]
    out = torch.zeros_like(plane)
    for shift, tap in enumerate(taps.tolist()):
        out.add_(wide[:, shift : shift + width], alpha=tap)
    return out


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of (..., H, W), edges repeated."""
    if sigma < 0.3:
        return x
    radius = min(math.ceil(2.5 * sigma), x.shape[-1] - 1, x.shape[-2] - 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma) ** 2)
    return smoothed(x, taps / taps.sum())


def box(x: Tensor, radius: int) -> Tensor:
    """Mean over a (2r+1) square of (C, H, W)."""
    return smoothed(x, torch.full((2 * radius + 1,), 1 / (2 * radius + 1)))


def clouds(size: tuple[int, int], scale: float, g: torch.Generator) -> Tensor:
    """Smooth noise of about unit variance with features of `scale` pixels, (H, W)."""
    rows, columns = max(3, round(size[0] / scale) + 2), max(3, round(size[1] / scale) + 2)
    coarse = torch.randn(1, 1, rows, columns, generator=g)
    return 1.3 * F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)[0, 0]


def speckle(size: tuple[int, int], scale: float, g: torch.Generator) -> Tensor:
    """Grain of unit variance with grains of `scale` pixels, (H, W)."""
    noise = blur(torch.randn(size, generator=g), scale / 2)
    return noise / noise.std()


def grid(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(size[0]).float(), torch.arange(size[1]).float(), indexing="ij")
    return y, x


def warp(x: Tensor, dy: Tensor, dx: Tensor) -> Tensor:
    """Sample (C, H, W) displaced by pixels (H, W)."""
    height, width = x.shape[-2:]
    y, xx = grid((height, width))
    place = torch.stack([2 * (xx + dx + 0.5) / width - 1, 2 * (y + dy + 0.5) / height - 1], -1)
    return F.grid_sample(x[None], place[None], padding_mode="border", align_corners=False)[0]


def waves(size: tuple[int, int], period: float, angle: float, wobble: Tensor | float = 0.0) -> Tensor:
    """Parallel lines: a cosine of `period` pixels across `angle` degrees, (H, W) in -1..1."""
    y, x = grid(size)
    a = math.radians(angle)
    return torch.cos(2 * math.pi * (x * math.cos(a) + y * math.sin(a) + wobble) / period)


def edges(x: Tensor, sigma: float) -> Tensor:
    """Strength of colour edges at the scale `sigma` pixels, (H, W), about 0..1."""
    smooth = blur(x, sigma)
    dy = F.pad(smooth[:, 2:] - smooth[:, :-2], (0, 0, 1, 1))
    dx = F.pad(smooth[:, :, 2:] - smooth[:, :, :-2], (1, 1))
    return ((dx**2 + dy**2).sum(0).sqrt() * sigma * 1.6).clamp(0, 1)


def step(x: Tensor, at: float | Tensor, soft: float) -> Tensor:
    """0 below `at`, 1 above, over a width of `soft`."""
    return ((x - at) / soft + 0.5).clamp(0, 1)


def ink(on: Tensor, paper: Tensor, colour: Tensor) -> Tensor:
    """Lay `colour` (3,) over `paper` (3, H, W) where `on` (H, W) is 1."""
    return paper + on * (colour[:, None, None] - paper)


def sheet(colour: Tensor, like: Tensor) -> Tensor:
    return colour[:, None, None].expand_as(like)


def flat(x, cover, p, unit, g):
    light = luma(x)[None].clamp(0.02, 1)
    levels = round(p["levels"])
    band = (light * levels).round().clamp(1) / levels
    return (blur(x, unit * p["smooth"]) * band / blur(light, unit * p["smooth"])).clamp(0, 1)


def halftone(x, cover, p, unit, g):
    period, x = p["period"] * unit, blur(x, 1.2 * unit)
    size = x.shape[-2:]
    if p["colour"] < 0.5:
        dots = waves(size, period, p["angle"]) + waves(size, period, p["angle"] + 90)
        on = step(1 - luma(x), 0.5 + 0.27 * dots, 0.18)
        return ink(on, sheet(p["paper"], x), p["ink"])
    out = []
    for channel, angle in zip(x, (15, 75, 45), strict=True):
        dots = waves(size, period, angle + p["angle"]) + waves(size, period, angle + p["angle"] + 90)
        out.append(1 - step(1 - channel, 0.5 + 0.27 * dots, 0.2))
    return 0.06 * x + 0.94 * torch.stack(out) * p["paper"][:, None, None]


def brush(x, cover, p, unit, g):
    size = x.shape[-2:]
    angle = math.radians(p["angle"]) + p["swirl"] * clouds(size, 130 * unit, g)
    along = torch.stack([angle.sin(), angle.cos()]) * unit * p["length"] / 4
    bristles = speckle(size, 2.6 * unit, g)[None]
    layers = torch.cat(
        [warp(x, 3 * unit * clouds(size, 14 * unit, g), 3 * unit * clouds(size, 14 * unit, g)), bristles]
    )
    strokes = torch.stack([warp(layers, k * along[0], k * along[1]) for k in range(-3, 4)]).mean(0)
    return (strokes[:3] + p["relief"] * strokes[3:] * (0.35 + luma(strokes[:3]))).clamp(0, 1)


def stained_glass(x, cover, p, unit, g):
    size, cell = x.shape[-2:], p["cell"] * unit
    rows, columns = math.ceil(size[0] / cell) + 2, math.ceil(size[1] / cell) + 2
    jitter = torch.rand(2, rows, columns, generator=g) * 0.86 + 0.07
    y, xx = grid(size)
    row, column = (y / cell).long(), (xx / cell).long()
    first = torch.full(size, 1e9)
    second, at_y, at_x = first.clone(), torch.zeros(size), torch.zeros(size)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            r, c = (row + dr).clamp(0, rows - 1), (column + dc).clamp(0, columns - 1)
            cy, cx = (row + dr + jitter[0][r, c]) * cell, (column + dc + jitter[1][r, c]) * cell
            distance = ((y - cy) ** 2 + (xx - cx) ** 2).sqrt()
            nearer = distance < first
            second = torch.where(nearer, first, torch.minimum(second, distance))
            at_y, at_x = torch.where(nearer, cy, at_y), torch.where(nearer, cx, at_x)
            first = torch.where(nearer, distance, first)
    panes = warp(blur(x, cell * 0.2), at_y - y, at_x - xx)
    glow = 1.1 - 0.35 * first / cell
    lead = step(second - first, p["lead"] * unit, 1.5 * unit)
    return ink(1 - lead, (panes * glow * 1.1).clamp(0, 1), p["ink"] * 0.5)


def ink_hatching(x, cover, p, unit, g):
    size, dark = x.shape[-2:], 1 - luma(blur(x, 1.5 * unit))
    wobble = 2 * unit * clouds(size, 40 * unit, g)
    lines = torch.zeros(size)
    for turn, level in ((0, 0.32), (90, 0.55), (45, 0.78)):
        wave = waves(size, p["period"] * unit, p["angle"] + turn, wobble)
        lines = torch.maximum(
            lines, step(wave, 1.25 - 1.1 * (dark - level).clamp(0), 0.5) * step(dark, level, 0.1)
        )
    contour = step(edges(x, 1.1 * unit), 0.2, 0.16)
    return ink(torch.maximum(lines, contour), sheet(p["paper"], x), p["ink"])


def duotone(x, cover, p, unit, g):
    light = ((luma(x) - 0.5) * p["contrast"] + 0.5).clamp(0, 1)
    middle = p["spot"][:, None, None]
    low, high = p["ink"][:, None, None], p["paper"][:, None, None]
    return torch.where(
        light < 0.5, low + 2 * light * (middle - low), middle + (2 * light - 1) * (high - middle)
    )


def watercolour(x, cover, p, unit, g):
    size = x.shape[-2:]
    wet = warp(
        x, p["bleed"] * unit * clouds(size, 22 * unit, g), p["bleed"] * unit * clouds(size, 22 * unit, g)
    )
    wet = blur(wet, 1.6 * unit)
    pigment = 0.62 * clouds(size, 60 * unit, g) + 0.5 * clouds(size, 22 * unit, g)
    density = (p["density"] + p["pool"] * pigment + 0.55 * edges(wet, 2.5 * unit)).clamp(0.1, 1.15)
    paper = p["paper"][:, None, None] * (1 + 0.025 * speckle(size, 3 * unit, g))
    return (paper * (1 - density) + density * wet * (0.4 + 0.6 * p["paper"][:, None, None])).clamp(0, 1)


def pixel(x, cover, p, unit, g):
    rows, columns = (max(8, round(side / (p["size"] * unit))) for side in x.shape[-2:])
    small = F.interpolate(x[None], (rows, columns), mode="area")
    levels = round(p["levels"])
    dither = p["dither"] * ((torch.arange(rows)[:, None] + torch.arange(columns)[None]) % 2 - 0.5)
    small = ((small * levels + dither).round() / levels).clamp(0, 1)
    return F.interpolate(small, x.shape[-2:], mode="nearest")[0]


def clay(x, cover, p, unit, g):
    size = cover.shape
    height = sum(blur(cover, s * unit) for s in (3, 8, 18)) * cover * 7 * unit + 2.2 * unit * blur(
        luma(x), 2 * unit
    )
    height = blur(height, 1.6 * unit)
    dy = F.pad(height[2:] - height[:-2], (0, 0, 1, 1)) / 2
    dx = F.pad(height[:, 2:] - height[:, :-2], (1, 1)) / 2
    a = math.radians(p["angle"])
    shade = (1 - 1.1 * (dx * math.cos(a) + dy * math.sin(a))) / (1 + dx**2 + dy**2).sqrt()
    shine = (shade - 1.02).clamp(0) * p["shine"]
    shadow = blur(warp(cover[None], -10 * unit * torch.ones(size), -8 * unit * torch.ones(size))[0], 9 * unit)
    table = (0.75 * p["paper"][:, None, None] + 0.25 * blur(x, 60 * unit)) * (1 - 0.45 * shadow * (1 - cover))
    lit = blur(x, unit) * (0.35 + 0.65 * shade.clamp(0, 1.5)) + shine
    return (table + cover * (lit - table)).clamp(0, 1)


def risograph(x, cover, p, unit, g):
    size, dark = x.shape[-2:], 1 - blur(x, unit)
    out = sheet(p["paper"], x)
    plates = ((0.25 * dark[0] + 0.75 * dark[1], p["spot"], 20), (0.9 * dark[0] + 0.1 * dark[2], p["ink"], 65))
    for plate, colour, angle in plates:
        shift = p["shift"] * unit * torch.randn(2, generator=g)
        plate = warp(plate[None], shift[0] * torch.ones(size), shift[1] * torch.ones(size))[0]
        screen = 0.5 + 0.25 * (waves(size, 6.5 * unit, angle) + waves(size, 6.5 * unit, angle + 90))
        on = step(plate + 0.05 * speckle(size, 3 * unit, g), 0.25 + 0.6 * screen, 0.35)
        out = out * (1 - on * (1 - colour[:, None, None]))
    return out.clamp(0, 1)


def linocut(x, cover, p, unit, g):
    size, dark = x.shape[-2:], 1 - luma(blur(x, 1.8 * unit))
    turn = clouds(size, 90 * unit, g) * 14 * unit
    carved = waves(size, p["period"] * unit, p["angle"], turn)
    tone = dark - 0.5 + p["bias"] + 0.2 * carved * (1 - (2 * dark - 1).abs())
    on = step(blur(tone, 0.8 * unit), 0.0, 0.12)
    contour = step(edges(x, 1.6 * unit), 0.3, 0.15)
    on = (on - contour).abs()
    on = on * step(speckle(size, 2.2 * unit, g), -1.9, 0.5)
    return ink(on, sheet(p["paper"], x), p["ink"])


def chalk(x, cover, p, unit, g):
    size = x.shape[-2:]
    tooth = speckle(size, 3.4 * unit, g)
    dust = 0.12 * clouds(size, 90 * unit, g)
    contour = step(edges(x, 1.3 * unit), 0.16, 0.2)
    amount = (0.25 + 0.55 * luma(x) * cover + 0.8 * contour + dust * 0.4).clamp(0, 1) * p["press"]
    on = step(tooth, 1.3 - 2.6 * amount, 1.2)
    light = 0.45 + 0.55 * x / x.amax(0, keepdim=True).clamp(0.25)
    board = p["ink"][:, None, None] * 0.55 + 0.03 * dust
    return (board + on * amount.sqrt() * (light - board)).clamp(0, 1)


def grain(x, cover, p, unit, g):
    size = x.shape[-2:]
    y, xx = grid(size)
    fall = ((y / size[0] - 0.5) ** 2 + (xx / size[1] - 0.5) ** 2) * p["vignette"]
    x = (x - 0.5) * p["contrast"] + 0.5 - fall
    return (x + p["amount"] * speckle(size, p["size"] * unit, g)).clamp(0, 1)


def motion(x, cover, p, unit, g):
    a, reach = math.radians(p["angle"]), p["length"] * unit
    ones = torch.ones(x.shape[-2:])
    taps = torch.linspace(-0.5, 0.5, 9).tolist()
    x = sum(warp(x, reach * k * math.sin(a) * ones, reach * k * math.cos(a) * ones) for k in taps) / len(taps)
    return blur(x, p["soft"] * unit)


def outline(x, cover, p, unit, g):
    x = box(x, max(1, round(1.5 * unit)))
    line = step(blur(edges(x, 1.2 * unit), p["width"] * unit * 0.5), 0.16, 0.14)
    return ink(line, ((x - 0.5) * 1.1 + 0.55).clamp(0, 1), p["ink"] * 0.6)


def evened(x: Tensor, r: int) -> Tensor:
    """Each pixel of (3, H, W) as the mean of the evenest of four squares that it is a corner of (Kuwahara
    et al. 1976)."""
    mean = box(x, r)
    spread = box((x - mean).square().sum(0, keepdim=True), r)[0]
    best, out = torch.full(x.shape[-2:], 1e9), mean
    for dy, dx in ((-r, -r), (-r, r), (r, -r), (r, r)):
        m, s = torch.roll(mean, (dy, dx), (1, 2)), torch.roll(spread, (dy, dx), (0, 1))
        out, best = torch.where(s < best, m, out), torch.minimum(s, best)
    return out


def gouache(x, cover, p, unit, g):
    size, r = x.shape[-2:], max(1, round(p["radius"] * unit))
    x = warp(x, 1.5 * unit * clouds(size, 12 * unit, g), 1.5 * unit * clouds(size, 12 * unit, g))
    out = evened(x, r)
    dry = 0.5 * clouds(size, 30 * unit, g) + 0.5 * speckle(size, 3.5 * unit, g)
    return (out * (1 + p["dry"] * dry)).clamp(0, 1)


@dataclass(frozen=True)
class Operator:
    apply: Callable[..., Tensor]
    ranges: dict[str, tuple[float, float]]


OPERATORS = {
    "flat": Operator(flat, {"levels": (3, 5), "smooth": (1, 2)}),
    "halftone": Operator(halftone, {"period": (7, 12), "angle": (0, 45), "colour": (0, 1)}),
    "brush": Operator(
        brush,
        {"angle": (0, 180), "swirl": (0.2, 1.2), "length": (7, 15), "relief": (0.15, 0.4)},
    ),
    "stained glass": Operator(stained_glass, {"cell": (16, 30), "lead": (2, 3.5)}),
    "ink hatching": Operator(ink_hatching, {"period": (7, 11), "angle": (20, 70)}),
    "duotone": Operator(duotone, {"contrast": (1, 1.6)}),
    "watercolour": Operator(watercolour, {"bleed": (2, 6), "density": (0.6, 0.85), "pool": (0.08, 0.24)}),
    "pixel": Operator(pixel, {"size": (5, 10), "levels": (3, 6), "dither": (0, 0.4)}),
    "clay": Operator(clay, {"angle": (30, 70), "shine": (0.2, 1.0)}),
    "risograph": Operator(risograph, {"shift": (1, 4)}),
    "linocut": Operator(linocut, {"period": (8, 15), "angle": (0, 180), "bias": (-0.1, 0.15)}),
    "chalk": Operator(chalk, {"press": (0.7, 1.1)}),
    "grain": Operator(
        grain, {"amount": (0.05, 0.11), "size": (3, 5), "contrast": (0.8, 1.2), "vignette": (0, 0.7)}
    ),
    "blur": Operator(motion, {"angle": (0, 180), "length": (8, 26), "soft": (0.5, 3)}),
    "outline": Operator(outline, {"width": (1.5, 4)}),
    "gouache": Operator(gouache, {"radius": (2, 4), "dry": (0.04, 0.13)}),
}
