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
from easel.style.scene import Item, Scene, draw_ground, draw_items

KEPT, PAINTED_OVER = 0.5, 0.8
THINGS = (
    0.5  # how far things of the prompt take on the picture's colours where its ground takes them on whole
)
MARGIN = 0.02  # kept free at the frame
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
    scene, colours = plan.scene.at(min(start.picture.size)), palette_of(x)
    if standing is not None:
        scene = placed(scene, plan, rectangle(standing.numpy()), start.hold, find)
    if start.strength < PAINTED_OVER:
        scene = things(scene, plan)
        ground = plainer(x if standing is None else painted_out(x, standing), start.strength)
    else:
        own = torch.from_numpy(draw_ground(scene.ground, scene.width, scene.height)).movedim(-1, 0)
        ground = harmonised(own, [(colours, start.hold)])
    canvas = in_floats(ground)
    draw_items(scene, canvas, cover, find)
    coloured = harmonised(torch.from_numpy(canvas).movedim(-1, 0), [(colours, THINGS * start.hold)])
    return in_floats(coloured), cover


def in_floats(x: Tensor) -> np.ndarray:
    """(3, H, W) as the scene has pictures: (H, W, 3)."""
    return x.movedim(0, -1).contiguous().numpy()


def things(scene: Scene, plan: Plan) -> Scene:
    """The scene with no more than what stands for words of the prompt."""
    chosen = {choice.drawing for choice in plan.chosen}
    return replace(scene, items=tuple(item for item in scene.items if item.drawing in chosen))


def placed(scene: Scene, plan: Plan, to: Rectangle, hold: float, find: Find) -> Scene:
    """The scene with its things as one group, moved and sized by `hold` of the way to the rectangle."""
    group = things(scene, plan).at(LOOKED_AT)
    cover = np.zeros((group.height, group.width), np.float32)
    draw_items(group, np.zeros((*cover.shape, 3), np.float32), cover, find)
    own = rectangle(cover)
    left, top, right, bottom = (o + hold * (t - o) for o, t in zip(own, to, strict=True))
    wide, high = own[2] - own[0], own[3] - own[1]
    scale = ((right - left) * (bottom - top) / (wide * high)) ** 0.5
    scale = min(scale, (1 - 2 * MARGIN) / wide, (bottom - MARGIN) / high)
    middle = min(max((left + right) / 2, MARGIN + scale * wide / 2), 1 - MARGIN - scale * wide / 2)

    def moved(item: Item) -> Item:
        x = middle + scale * (item.x - (own[0] + own[2]) / 2)
        return replace(item, x=x, y=bottom + scale * (item.y - own[3]), size=item.size * scale)

    items = tuple(moved(item) if item in group.items else item for item in scene.items)
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
