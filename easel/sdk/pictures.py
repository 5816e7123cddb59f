"""What a finished job gives: the picture, and the job that made it."""

from dataclasses import dataclass
from pathlib import Path

from easel.schema.jobs import Job


@dataclass(frozen=True)
class Picture:
    """A painted picture."""

    job: Job
    url: str  # where anybody can download it
    content: bytes  # a PNG

    def save(self, path: str | Path) -> Path:
        """Write the PNG to `path`, making its folder where needed."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.content)
        return path
