"""What safetensors files say of themselves, before any weight is read: names, types, shapes, and whether they are whole."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from easel.errors import CheckpointError

BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "F8_E8M0": 1}


class Stored(NamedTuple):
    """One weight at rest."""

    file: Path
    name: str  # in that file
    dtype: str  # as safetensors names it: "BF16"
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


def stored_in(place: Path) -> dict[str, Stored]:
    """The weights in one safetensors file, or in all shards of a folder, by name.

    Raises CheckpointError for a file that is missing, cut short, or no safetensors file.
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
    """What the file says of its weights: 8 bytes of length, then JSON, then the weights end to end."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            told = json.loads(opened.read(length)) if length < size else {}
        told.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in told.values()]
        found = [Stored(file, name, entry["dtype"], tuple(entry["shape"])) for name, entry in told.items()]
    except FileNotFoundError:
        raise CheckpointError(f"{str(file)!r} is missing: fetch the checkpoint again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{str(file)!r} is no safetensors file: {error!r}") from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise CheckpointError(f"{str(file)!r} has {size:,} of {whole:,} bytes: fetch the checkpoint again")
    return found


def read_json(file: Path) -> dict:
    """What a JSON file of a checkpoint holds; CheckpointError if that cannot be read."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise CheckpointError(f"{str(file)!r} is missing: fetch the checkpoint again") from None
    except ValueError as error:
        raise CheckpointError(f"{str(file)!r} cannot be read: {error}") from None
