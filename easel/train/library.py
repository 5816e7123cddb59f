"""Packs the drawings that ship with the nano model: emoji by every hand that draws in SVG, and silhouettes,
with their English names.

python -m easel.train.library ARTWORK OUT.zip
"""

import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import resvg_py

from easel.model.look import HANDS
from easel.style.scene import PLAIN

LIBRARY = Path(__file__).parents[1] / "checkpoints/nano/drawings.zip"  # what ships


def svgs(archive: Path) -> dict[str, str]:
    """Every SVG of a tar by its path without folder and ending, as `1f98a` or `author/name`."""
    root = archive.name.split(".")[0] + "/"
    return {
        name.split(root)[-1].removeprefix("./").removesuffix(".svg"): data.decode()
        for name, data in unpacked(archive)
        if name.endswith(".svg")
    }


def unpacked(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a tar, with their names."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if (file := tar.extractfile(member)) is not None:
                yield member.name, file.read()


def lean(svg: str) -> str:
    """Drop what is not seen: comments, editors' data, blanks between elements, decimals below 1/2500 of the
    picture; and what is hardly seen but slow to draw: filters, with the lights that they blur."""
    unseen = r"<!--.*?-->|<metadata.*?</metadata>|<sodipodi.*?/>"
    filters = r'<g filter="url\(#\w*_f_\w*\)">.*?</g>|<filter.*?</filter>| filter="[^"]*"'
    svg = re.sub(f"{unseen}|{filters}", "", svg, flags=re.S)
    svg = re.sub(r">\s+<", "><", svg).strip()
    box = re.search(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+)', svg)
    places = 1 if box and float(box[1]) >= 128 else 2
    arc = r"[aA][-\d\s.,]+"  # whose flags may stick to the next number
    number = rf"-?\d*\.\d{{{places + 1},}}(?![\d.]*e)"
    return re.sub(f"({arc})|{number}", lambda found: found[1] or shorter(found[0], places), svg)


def shorter(number: str, places: int) -> str:
    """The number with so many decimals, or with three digits if it is small; kept apart from one before it,
    which in SVG may be told by a second point only."""
    value = float(number)
    short = f"{value:.{places}f}" if abs(value) >= 0.1 else f"{value:.3g}"
    return f" {short}" if number.startswith(".") else short


def drawable(svg: str) -> bool:
    """Three of the archive's files are cut short in the middle."""
    try:
        return bool(resvg_py.svg_to_bytes(svg_string=svg, width=16, height=16))
    except ValueError:
        return False


def main(artwork: Path, out: Path) -> None:
    index = json.loads((artwork / "index.json").read_text())
    drawings = {hand: svgs(artwork / f"{hand}.tar.xz") for hand in HANDS if hand != "fluent-3d"}
    drawings["silhouettes"] = svgs(artwork / "game-icons.tar.xz")
    for hand, found in drawings.items():
        shorn = {key: lean(svg) for key, svg in found.items() if key in index or "/" in key}
        drawings[hand] = {key: svg for key, svg in shorn.items() if drawable(svg)}
    entries = {key: {k: index[key][k] for k in ("name", "tags", "group")} for key in drawings[PLAIN]}
    for key in drawings["silhouettes"]:
        entries[key] = {"name": key.split("/")[-1].replace("-", " "), "tags": [], "group": "silhouettes"}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_LZMA) as archive:
        for name, content in {"index": entries, **drawings}.items():
            archive.writestr(f"{name}.json", json.dumps(content, separators=(",", ":"), ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
