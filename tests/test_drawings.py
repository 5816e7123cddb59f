"""python -m pytest tests/test_drawings.py — the drawings that ship: what packs them, and who drew them."""

import numpy as np
import pytest

from easel.model.look import HANDS
from easel.style.painter import SHIPPED
from easel.style.scene import LINES, PLAIN, Library
from easel.train.library import lean

HOUSE, ELEVATOR = "1f3e0", "1f6d7"
LIBRARY = Library(SHIPPED / "drawings.zip")


def test_every_hand_draws_its_own_house():
    houses = [LIBRARY.by(hand)(HOUSE, 64) for hand in HANDS if hand != "fluent-3d"]
    for i, house in enumerate(houses):
        assert max(house.shape) == 64
        assert all(not np.array_equal(house, other) for other in houses[:i])


def test_what_a_hand_never_drew_is_drawn_by_the_plain_hand():
    assert np.array_equal(LIBRARY.by("fxemoji")(ELEVATOR, 64), LIBRARY.by(PLAIN)(ELEVATOR, 64))


def test_silhouettes_are_the_same_by_every_hand():
    key = next(key for key in LIBRARY.names if LIBRARY.kind(key) == "silhouette")
    assert np.array_equal(LIBRARY.by(LINES, dark=True)(key, 64), LIBRARY.by(PLAIN)(key, 64))


def test_black_lines_are_white_on_a_dark_ground():
    light, dark = (LIBRARY.by(LINES, dark)(HOUSE, 64) for dark in (False, True))
    assert np.array_equal(light[..., 3], dark[..., 3])
    drawn = light[..., 3] > 0.9
    assert light[drawn][:, :3].mean() < 0.3 < 0.7 < dark[drawn][:, :3].mean()


@pytest.mark.parametrize(
    ("drawn", "kept"),
    [
        ("M1.23456-7.00001z", "M1.23-7.00z"),
        ("m3.14159.98765.5", "m3.14 0.99.5"),  # three numbers, told apart by their points
        ("l.00123456 2", "l 0.00123 2"),
        ("a1.5 1.5 0 01.34567.98765L9.87654 1", "a1.5 1.5 0 01.34567.98765L9.88 1"),  # 0 and 1 are flags
        ("M1.5e-5 1.23456e-7", "M1.5e-5 1.23456e-7"),
    ],
)
def test_drawings_lose_decimals_that_nobody_sees_and_nothing_else(drawn, kept):
    box = '<svg viewBox="0 0 32 32"><path d="{}"/></svg>'
    assert lean(box.format(drawn)) == box.format(kept)


def test_drawings_lose_comments_and_filters_with_the_lights_they_blur():
    shape = '<path d="M1 1"/>'
    light = '<g filter="url(#filter0_f_12)"><path d="M2 2"/></g>'
    shade = f'<g filter="url(#filter1_ii_12)">{shape}</g>'
    filters = '<filter id="filter1_ii_12"><feBlend/></filter>'
    drawn = f"<svg><!-- by hand -->\n {light} {shade}<defs>{filters}</defs></svg>"
    assert lean(drawn) == f"<svg><g>{shape}</g><defs></defs></svg>"
