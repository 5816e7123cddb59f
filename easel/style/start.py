"""A picture to start from: how far it is kept and what is drawn over it, by the strength of the request.

Nothing is ever mixed from two scenes. Up to KEPT the picture stays, in ever plainer patches; from there on
the things of the prompt stand where its subject stood; from PAINTED_OVER on they stand on their own ground,
and the picture decides no more than the place and the colours, less and less up to 1.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from easel.model.latents import to_tensor
from easel.model.palette import harmonised, palette_of
from easel.model.repaint import painted_out, plainer, subject
from easel.style.plan import Plan
from easel.style.scene import Scene, draw, draw_items

KEPT, PAINTED_OVER = 0.5, 0.8
LOOKED_AT = 128  # pixels of the shorter side at which places are measured
Find = Callable[[str, int], np.ndarray]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom, fractions of the frame


@dataclass(frozen=True)
class Start:
    """A picture that fills the frame, and how much of the painting is new."""

    picture: Image.Image
    strength: float  # 0..1

    @property
    def heard(self) -> float:
        """How far looks act that the picture is painted in."""
        return min(1, self.strength / KEPT)

    @property
    def hold(self) -> float:
        """How far place and colours are still the picture's."""
        return min(1, (1 - self.strength) / (1 - PAINTED_OVER)) ** 0.5

    def summary(self) -> dict[str, object]:
        """What the picture does to the painting, as JSON."""
        kept = "shapes" if self.strength < KEPT else "ground" if self.strength < PAINTED_OVER else "colours"
        return {"strength": self.strength, "keeps": kept}


def started(picture: Image.Image, size: tuple[int, int], strength: float) -> Start:
    """The picture cut to the frame of `size` about its middle."""
    return Start(ImageOps.fit(picture, size, Image.Resampling.LANCZOS), strength)


def drawn_over(start: Start, plan: Plan, find: Find) -> tuple[np.ndarray, np.ndarray]:
    """The sketch (H, W, 3) and the cover of its objects (H, W), both float32 in 0..1."""
    x = to_tensor(start.picture)[0]
    standing = subject(x)
    cover = np.zeros(x.shape[-2:], np.float32)
    if start.strength < KEPT:
        return in_floats(plainer(x, start.strength)), cover if standing is None else standing.numpy()
    scene = plan.scene.at(min(start.picture.size))
    chosen = {choice.drawing for choice in plan.chosen}
    things = replace(scene, items=tuple(item for item in scene.items if item.drawing in chosen))
    if standing is not None:
        things = placed(things, rectangle(standing.numpy()), start.hold, find)
    if start.strength < PAINTED_OVER:
        ground = x if standing is None else painted_out(x, standing)
        canvas = in_floats(plainer(ground, start.strength))
        draw_items(things, canvas, cover, find)
    else:
        moved = iter(things.items)
        items = tuple(next(moved) if item.drawing in chosen else item for item in scene.items)
        canvas, cover = draw(replace(scene, items=items), find)
    coloured = harmonised(torch.from_numpy(canvas).movedim(-1, 0), [(palette_of(x), 0.5 * start.hold)])
    return in_floats(coloured), cover


def in_floats(x: Tensor) -> np.ndarray:
    """(3, H, W) as the scene has pictures: (H, W, 3)."""
    return x.movedim(0, -1).contiguous().numpy()


def placed(scene: Scene, to: Rectangle, hold: float, find: Find) -> Scene:
    """The scene's items as one group, moved and sized by `hold` of the way to where the rectangle is."""
    small = scene.at(LOOKED_AT)
    cover = np.zeros((small.height, small.width), np.float32)
    draw_items(small, np.zeros((*cover.shape, 3), np.float32), cover, find)
    own = rectangle(cover)
    left, top, right, bottom = (o + hold * (t - o) for o, t in zip(own, to, strict=True))
    scale = ((right - left) * (bottom - top) / ((own[2] - own[0]) * (own[3] - own[1]))) ** 0.5
    scale = min(scale, 0.96 / (own[2] - own[0]), 0.96 / (own[3] - own[1]))
    middle, own_middle = (left + right) / 2, (own[0] + own[2]) / 2
    items = tuple(
        replace(
            item,
            x=middle + scale * (item.x - own_middle),
            y=bottom + scale * (item.y - own[3]),
            size=item.size * scale,
        )
        for item in scene.items
    )
    return replace(scene, items=items)


def rectangle(cover: np.ndarray) -> Rectangle:
    """What surrounds the cover (H, W)."""
    rows, columns = np.flatnonzero(cover.max(1) > 0.5), np.flatnonzero(cover.max(0) > 0.5)
    height, width = cover.shape
    if not len(rows):
        return 0.0, 0.0, 1.0, 1.0
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
