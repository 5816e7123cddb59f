"""A whole server, as a user starts it: its own processes, its own data folder, the null engine."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Served:
    """A running `easel serve`."""

    url: str
    token: str
    data: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """`easel serve` on a free port with its data in `folder`, stopped at the end."""
    ready, log = folder / "ready.json", folder / "serve.log"
    ready.unlink(missing_ok=True)
    environment = {"EASEL_DATA": str(folder / "data"), "EASEL_MODELS": "null"} | environment
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "easel", "serve", "--port", "0", "--ready-file", str(ready)],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
            text=True,
        )
    try:
        while not ready.exists():
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        said = json.loads(ready.read_text())
        yield Served(said["url"], said["token"], folder / "data", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
