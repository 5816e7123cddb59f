"""Pictures from outside: oddities are read, bombs are refused. Alone: pytest tests/test_pictures.py"""

import base64
import io
import resource
import struct
import time
import zlib

import pytest
from PIL import Image

from easel.errors import PictureError
from easel.pictures import describe, from_data_uri, open_picture

RED = (220, 30, 40)


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, bit_depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    """A PNG written by hand, so that its header may claim what it likes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bit_depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def rotated_jpeg() -> bytes:
    """30 by 20 as stored, 20 by 30 as displayed, with its red half at the top once upright."""
    image = Image.new("RGB", (30, 20), "white")
    image.paste(RED, (0, 0, 15, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image, "JPEG", exif=exif, quality=95)


def animated(format: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, "blue", "green")]
    return saved(frames[0], format, save_all=True, append_images=frames[1:], lossless=True)


def sixteen_bit() -> bytes:
    return png(4, 4, bit_depth=16, colour=0, body=zlib.compress(4 * (b"\x00" + 4 * b"\x80\x00")))


RGB = Image.new("RGB", (64, 48), RED)

READABLE = {
    "png": (saved(RGB, "PNG"), "image/png", RED),
    "jpeg": (saved(RGB, "JPEG", quality=95), "image/jpeg", RED),
    "jpeg with a second view": (saved(RGB, "MPO", save_all=True, append_images=[RGB]), "image/jpeg", RED),
    "webp": (saved(RGB, "WEBP", lossless=True), "image/webp", RED),
    "heic": (saved(RGB, "HEIF", quality=90), "image/heic", RED),
    "avif": (saved(RGB, "AVIF", quality=90), "image/avif", RED),
    "cmyk jpeg": (saved(RGB.convert("CMYK"), "JPEG", quality=95), "image/jpeg", RED),
    "palette": (saved(RGB.convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), "image/png", RED),
    "grey with alpha": (saved(Image.new("LA", (8, 8), (9, 0)), "PNG"), "image/png", (255, 255, 255)),
    "transparent": (saved(Image.new("RGBA", (8, 8), (9, 9, 9, 0)), "PNG"), "image/png", (255, 255, 255)),
    "half transparent": (
        saved(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG"),
        "image/png",
        (127, 127, 127),
    ),
    "bilevel": (saved(Image.new("1", (8, 8), 1), "PNG"), "image/png", (255, 255, 255)),
    "16 bits": (sixteen_bit(), "image/png", (128, 128, 128)),
    "animated png": (animated("PNG"), "image/png", RED),
    "animated webp": (animated("WEBP"), "image/webp", RED),
    "with a zip behind it": (saved(RGB, "PNG") + b"PK\x03\x04 and so on", "image/png", RED),
    "rotated by EXIF": (rotated_jpeg(), "image/jpeg", RED),
}

UNREADABLE = {
    "a bomb of 700 MiB in a few bytes": png(15_000, 16_300, body=zlib.compress(bytes(1 << 20))),
    "a bomb one pixel too wide": png(8193, 1, body=zlib.compress(bytes(30_000))),
    "just over 40 megapixels": png(6400, 6251, body=zlib.compress(bytes(1 << 20))),
    "a size beyond any memory": png(2_000_000_000, 2_000_000_000),
    "no pixels at all": png(0, 0),
    "a png with garbage for pixels": png(64, 64, body=b"not zlib"),
    "half a png": saved(Image.effect_noise((64, 64), 90), "PNG")[:1500],
    "half a jpeg": saved(Image.effect_noise((64, 64), 90), "JPEG")[:1500],
    "half a webp": saved(Image.effect_noise((64, 64), 90), "WEBP")[:1500],
    "half a heic": saved(Image.effect_noise((64, 64), 90).convert("RGB"), "HEIF")[:900],
    "half an avif": saved(Image.effect_noise((64, 64), 90), "AVIF")[:900],
    "a webp that claims 16383 a side": (
        b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0\xfe\x3f\0\xfe\x3f\0ANIM\x06\0\0\0" + bytes(6)
    ),
    "svg": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "gif": saved(RGB, "GIF"),
    "bmp": saved(RGB, "BMP"),
    "tiff": saved(RGB, "TIFF"),
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "text": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("name", READABLE)
def test_a_picture_in_any_common_form_becomes_plain_rgb(name: str) -> None:
    data, mime, colour = READABLE[name]
    picture = open_picture(data)
    assert picture.mode == "RGB"
    assert describe(data).mime == mime
    assert (describe(data).width, describe(data).height) == picture.size
    pixel = picture.getpixel((2, 2))
    assert all(abs(value - wanted) <= 6 for value, wanted in zip(pixel, colour, strict=True)), pixel


def test_a_telephones_rotation_is_applied() -> None:
    picture = open_picture(rotated_jpeg())
    assert picture.size == (20, 30)
    assert picture.getpixel((10, 28)) == (255, 255, 255)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_usable_picture_is_refused_within_a_second_and_little_memory(name: str) -> None:
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    for read in (describe, open_picture):
        with pytest.raises(PictureError) as refusal:
            read(UNREADABLE[name])
        assert "send" in refusal.value.message
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_large_picture_is_shrunk_to_what_is_looked_at() -> None:
    assert open_picture(saved(Image.new("RGB", (5000, 2500)), "PNG")).size == (1667, 834)


def test_a_data_uri_gives_its_bytes() -> None:
    encoded = base64.b64encode(b"picture").decode()
    assert from_data_uri(f"data:image/png;base64,{encoded}") == b"picture"
    assert from_data_uri(f"DATA:image/svg+xml;charset=utf-8;base64,{encoded}") == b"picture"


@pytest.mark.parametrize(
    "uri", ["data:image/png,abc", "data:image/png;base64,a*b", "data:;base64,abc", "https://a"]
)
def test_a_broken_data_uri_is_refused_with_the_remedy(uri: str) -> None:
    with pytest.raises(PictureError, match=r"write data:image|encode the file again"):
        from_data_uri(uri)
