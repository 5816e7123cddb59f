"""What files of weights say of themselves before any weight is read: names, types, shapes, and whether they
are whole. GGUF files are gguf_files' to read, all others are safetensors."""

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from easel.errors import CheckpointError
from easel.model import gguf_files
from easel.model.gguf_files import is_gguf

LONGEST_HEADER = 100_000_000  # bytes; what claims more is another kind of file


class Stored(NamedTuple):
    """One weight at rest."""

    file: Path
    name: str  # in that file
    dtype: str  # as its file's kind names it: "BF16", "Q4_K"
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


def stored_in(place: Path) -> dict[str, Stored]:
    """The weights in one file, or in all shards of a folder, by name.

    Raises CheckpointError for a file that is missing, cut short, or of another kind than its name says.
    """
    return {one.name: one for file in files_of(place) for one in header(file)}


def files_of(place: Path) -> list[Path]:
    """`place` itself; of a folder, the shards that its index names, or what there is without an index."""
    if not place.is_dir():
        return [place]
    indexes = sorted(place.glob("*.safetensors.index.json"))
    if not indexes:
        found = sorted(place.glob("*.safetensors"))
        if not found:
            raise CheckpointError(f"the folder {str(place)!r} holds no safetensors file: fetch it again")
        return found
    return sorted({place / shard for shard in read_json(indexes[0])["weight_map"].values()})


def header(file: Path) -> list[Stored]:
    """What the file says of its weights; in safetensors 8 bytes of length, then JSON, then the weights."""
    if is_gguf(file):
        return [Stored(file, *one) for one in gguf_files.header(file)]
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = length_of(opened)
            told = json.loads(opened.read(min(length, LONGEST_HEADER)))
        told.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in told.values()]
        found = [Stored(file, name, entry["dtype"], tuple(entry["shape"])) for name, entry in told.items()]
    except FileNotFoundError:
        raise CheckpointError(f"{str(file)!r} is missing: fetch the checkpoint again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{str(file)!r} is no safetensors file ({error}): fetch it again") from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise CheckpointError(f"{str(file)!r} has {size:,} of {whole:,} bytes: fetch the checkpoint again")
    return found


def length_of(opened: BinaryIO) -> int:
    """How long the JSON of safetensors is, which begins where this leaves off."""
    return int.from_bytes(opened.read(8), "little")


def fingerprint(files: Iterable[Path]) -> str:
    """The first 12 hex digits of the SHA-256 of what the files say of their weights, and of the last million
    bytes of each."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        with file.open("rb") as opened:
            length = gguf_files.header_bytes(file) if is_gguf(file) else length_of(opened)
            digest.update(opened.read(length))
            opened.seek(max(0, file.stat().st_size - 1_000_000))
            digest.update(opened.read())
    return digest.hexdigest()[:12]


def read_json(file: Path) -> dict:
    """What a JSON file of a checkpoint holds; CheckpointError if that cannot be read."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise CheckpointError(f"{str(file)!r} is missing: fetch the checkpoint again") from None
    except ValueError as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}") from None
