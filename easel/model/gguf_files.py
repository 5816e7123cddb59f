"""What GGUF files say of themselves before any weight is read.

What they say of their architecture is not heeded, for each converter has a word of its own for it.
"""

from pathlib import Path

from gguf import GGUFReader

from easel.errors import CheckpointError


def is_gguf(file: Path) -> bool:
    """Whether the file is meant to be one."""
    return file.suffix.lower() == ".gguf"


def header(file: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """The name of each weight, what it is kept as ("F32", "Q4_K"), and its shape, of a matrix (out, in)."""
    return [
        (one.name, one.tensor_type.name, tuple(map(int, reversed(one.shape)))) for one in opened(file).tensors
    ]


def header_bytes(file: Path) -> int:
    """How many bytes stand before the weights."""
    return int(opened(file).data_offset)


def opened(file: Path) -> GGUFReader:
    """The file, mapped; raises CheckpointError where it is missing, cut short, or no GGUF file."""
    try:
        with file.open("rb") as begun:
            if begun.read(4) != b"GGUF":
                raise CheckpointError(f"{str(file)!r} is no GGUF file: fetch it again, or name another")
        return GGUFReader(file)
    except FileNotFoundError:
        raise CheckpointError(f"{str(file)!r} is missing: fetch the checkpoint again") from None
    except (ValueError, LookupError) as error:
        raise CheckpointError(
            f"{str(file)!r} is cut short at {file.stat().st_size:,} bytes, or holds what no version of GGUF "
            f"here knows ({error}): fetch it again, or take one in Q8_0 or Q4_K_M"
        ) from None
