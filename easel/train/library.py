"""Packs the drawings that ship with the nano model: one emoji hand and the silhouettes, with their English
names.

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

HAND = "noto"
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
    """Drop what is not drawn: comments, editors' data, blanks between elements."""
    svg = re.sub(r"<!--.*?-->|<metadata.*?</metadata>|<sodipodi.*?/>", "", svg, flags=re.S)
    return re.sub(r">\s+<", "><", svg).strip()


def drawable(svg: str) -> bool:
    """Three of the archive's files are cut short in the middle."""
    try:
        return bool(resvg_py.svg_to_bytes(svg_string=svg, width=16, height=16))
    except ValueError:
        return False


def main(artwork: Path, out: Path) -> None:
    index = json.loads((artwork / "index.json").read_text())
    emoji, silhouettes = svgs(artwork / f"{HAND}.tar.xz"), svgs(artwork / "game-icons.tar.xz")
    entries = {key: {k: index[key][k] for k in ("name", "tags", "group")} for key in emoji if key in index}
    for key in silhouettes:
        entries[key] = {"name": key.split("/")[-1].replace("-", " "), "tags": [], "group": "silhouettes"}
    drawings = {key: lean(emoji.get(key) or silhouettes[key]) for key in entries}
    drawings = {key: svg for key, svg in drawings.items() if drawable(svg)}
    entries = {key: entries[key] for key in drawings}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("index.json", json.dumps(entries, separators=(",", ":")))
        for key, svg in drawings.items():
            archive.writestr(f"{key}.svg", svg)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
