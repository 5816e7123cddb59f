"""Reference pictures to what the nano model is shown of them: the whole, small, and its most textured part,
full size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from easel.engine.engine import Shown
from easel.model.latents import to_tensor
from easel.model.texture import of_sheets
from easel.schema.painting import Reference

DETAIL = 256  # side of each of the two views, pixels of a 1K picture
AREA = 1024 * 1024
FULL = 1.25  # the most that strengths above 0 may come to: 1 is what the networks learnt


def shown(references: Sequence[Reference], strengths: Sequence[float]) -> list[Shown]:
    """References as the networks see them, each at what its strength comes to, without those of 0."""
    pairs = zip(references, strengths, strict=True)
    return [seen(reference_sheet(reference.image), s) for reference, s in pairs if s != 0]


def together(strengths: Sequence[float]) -> list[float]:
    """What the strengths of references and styles come to beside each other; below 0 they stay."""
    total = sum(max(0, s) for s in strengths)
    return [s * felt(total) / total if s > 0 else s for s in strengths]


def felt(total: float) -> float:
    """What strengths above 0 come to together: .63 at .5, which requests have by default, 1 at 1."""
    return float(min(total ** (2 / 3), FULL))


def seen(sheet: Image.Image, strength: float) -> Shown:
    """A sheet as the networks see it."""
    views = to_tensor(sheet)
    return Shown(views, of_sheets(views), strength)


def reference_sheet(picture: Image.Image) -> Image.Image:
    """Both views, one above the other: (256 wide, 512 high), after bringing the picture to one megapixel."""
    scale = (AREA / (picture.width * picture.height)) ** 0.5
    sides = [max(DETAIL, round(side * scale)) for side in picture.size]
    picture = picture.resize(sides, Image.Resampling.LANCZOS if scale > 1 else Image.Resampling.BOX)
    top, left = most_textured(np.asarray(picture.convert("L"), dtype=np.float32) / 255, DETAIL)
    sheet = Image.new("RGB", (DETAIL, 2 * DETAIL))
    sheet.paste(picture.resize((DETAIL, DETAIL), Image.Resampling.BOX), (0, 0))
    sheet.paste(picture.crop((left, top, left + DETAIL, top + DETAIL)), (0, DETAIL))
    return sheet


def most_textured(light: np.ndarray, side: int) -> tuple[int, int]:
    """Top and left of the window of `side` pixels, of a 3 × 3 choice, in which (H, W) `light` varies most."""
    tops, lefts = (np.linspace(0, length - side, 3).astype(int) for length in light.shape)
    windows = [(int(top), int(left)) for top in tops for left in lefts]
    return max(windows, key=lambda w: float(light[w[0] : w[0] + side, w[1] : w[1] + side].std()))
