"""Ground: the door for pictures: a header is judged before a pixel is decoded, and plain RGB comes out."""

import base64
import binascii
import io
import re
from dataclasses import dataclass

import pillow_heif
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from easel.errors import PictureError

pillow_heif.register_heif_opener()

LARGEST_AREA = 40_000_000
LARGEST_SIDE = 8192
WORKING_SIDE = 2048  # nothing looks at a reference more closely, and ten of them stay small in memory

FORMATS = ("PNG", "JPEG", "WEBP", "HEIF", "AVIF")
MIME_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with a second view behind the first, as telephones write them
    "WEBP": "image/webp",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}
SUFFIXES = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/avif": "avif",
}

DATA_URI = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)


@dataclass(frozen=True)
class Description:
    """What a picture file is: its media type, and its size as displayed."""

    mime: str
    width: int
    height: int

    @property
    def suffix(self) -> str:
        """What the name of such a file ends with."""
        return SUFFIXES[self.mime]


def describe(data: bytes) -> Description:
    """Say what `data` is, having read it to its end, so that what is accepted can be opened later."""
    image = _decoded(data)
    assert image.format is not None
    sideways = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
    width, height = reversed(image.size) if sideways else image.size
    return Description(MIME_TYPES[image.format], width, height)


def open_picture(data: bytes) -> Image.Image:
    """Decode `data` as displayed: RGB, upright, on white, the first frame, at most 2,048 pixels a side."""
    image = _decoded(data)
    return _on_white(ImageOps.exif_transpose(_shrunk(_eight_bit(image))))


def from_data_uri(uri: str) -> bytes:
    """The bytes inside a base64 data URI."""
    head = DATA_URI.match(uri)
    if head is None:
        raise PictureError(f"{uri[:40]!r} is no base64 data URI; write data:image/png;base64,…")
    try:
        return base64.b64decode(uri[head.end() :], validate=True)
    except binascii.Error as error:
        raise PictureError(f"The data URI is no valid base64 ({error}); encode the file again") from error


def _decoded(data: bytes) -> Image.Image:
    # At hostile bytes decoders raise whatever they like (struct.error, SyntaxError, bomb warnings).
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise PictureError("The bytes are no picture; send JPEG, PNG, WebP, HEIC or AVIF") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(str(error)) from error
    except Exception as error:
        raise _broken(error) from error
    if max(image.size) > LARGEST_SIDE or image.width * image.height > LARGEST_AREA:
        raise _too_large(f"{image.width} by {image.height} pixels")
    try:
        image.load()
    except Exception as error:
        raise _broken(error) from error
    return image


def _too_large(size: str) -> PictureError:
    limits = f"{LARGEST_SIDE:,} pixels a side and {LARGEST_AREA // 1_000_000} megapixels"
    return PictureError(f"The picture is too large ({size}); send one of at most {limits}")


def _broken(error: Exception) -> PictureError:
    return PictureError(f"The picture is broken or cut short ({error}); save and send it again")


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which converting to "L" alone would clip
        return image.convert("I").point(lambda value: value / 256).convert("L")
    if image.mode in ("RGB", "RGBA", "L", "LA"):
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _shrunk(image: Image.Image) -> Image.Image:
    factor = -(-max(image.size) // WORKING_SIDE)
    return image.reduce(factor) if factor > 1 else image


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white
