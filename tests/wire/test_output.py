"""Section 10 of the contract: one PNG a job, of the size that its aspect ratio names.

python -m pytest tests/wire/test_output.py
"""

import io
import time
from collections.abc import Iterator

import httpx
import pytest
from answering import MEDIUM
from PIL import Image
from serving import Served

from wire.reading import A_FOX

SIZES = {
    "1:1": (1024, 1024),
    "4:3": (1184, 896),
    "3:2": (1248, 832),
    "16:9": (1376, 768),
    "2.35:1": (1568, 672),
    "4:5": (928, 1152),
    "3:4": (896, 1184),
    "2:3": (832, 1248),
    "9:16": (768, 1376),
}


@pytest.fixture(scope="module")
def krea(served: Served) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {served.token}"}
    with httpx.Client(base_url=served.url, headers=headers, timeout=30, trust_env=False) as client:
        yield client


def painted(krea: httpx.Client, **fields: str) -> list[str]:
    """The URLs of a job, once it has completed."""
    job = krea.post(MEDIUM, json={**A_FOX, **fields}).json()
    while not job["completed_at"]:
        time.sleep(0.02)
        job = krea.get(f"/jobs/{job['job_id']}").json()
    assert job["status"] == "completed"
    return job["result"]["urls"]


@pytest.mark.parametrize("ratio", SIZES)
def test_a_picture_has_the_pixels_that_its_aspect_ratio_names(krea: httpx.Client, ratio: str) -> None:
    (url,) = painted(krea, aspect_ratio=ratio, resolution="1K")
    assert url.endswith(".png")
    file = httpx.get(url)
    assert file.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(file.content)) as image:
        assert (image.format, image.size) == ("PNG", SIZES[ratio])


def test_a_picture_is_square_unless_asked_otherwise(krea: httpx.Client) -> None:
    (url,) = painted(krea)
    with Image.open(io.BytesIO(httpx.get(url).content)) as image:
        assert image.size == (1024, 1024)
