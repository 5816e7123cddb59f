"""Pictures to bytes: the finished one to PNG, with its recipe inside, and small previews to data URIs."""

import base64
import io
import json
import zlib
from typing import Any

from PIL.Image import Image
from PIL.PngImagePlugin import PngInfo

from easel.engine import provenance

PREVIEW_SIDE = 256


def png(image: Image, recipe: dict[str, Any]) -> bytes:
    """A PNG whose metadata says what was painted (`prompt`), how to paint it again (`easel`, JSON), and, for
    programs that read XMP, that a model made it."""
    info = PngInfo()
    info.add_itxt(provenance.KEYWORD, provenance.made_by(recipe["engine"], recipe["checkpoint"]))
    info.add_itxt("prompt", recipe["prompt"])
    info.add_itxt("easel", json.dumps(recipe, ensure_ascii=False, sort_keys=True))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def preview(image: Image, side: int = PREVIEW_SIDE) -> str:
    """A small JPEG as a data URI."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
