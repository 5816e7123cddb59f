"""The server of this machine: started in the background when a command needs one."""

import subprocess
import sys
import time
from pathlib import Path

from easel.cli.output import remarks, say
from easel.cli.settings import settings_with
from easel.errors import Unreachable
from easel.sdk.server import local

PATIENCE = 60  # seconds; the first start makes the database


def start_local_server() -> None:
    """Start `easel serve` in the background, and wait until it is ready."""
    data = settings_with().data
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    with log.open("w") as output, remarks.status("starting easel on this machine"):
        # What it prints holds the token, which belongs in no log.
        server = subprocess.Popen(
            [sys.executable, "-m", "easel", "serve"],
            stdout=subprocess.DEVNULL,
            stderr=output,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE
        while not local():
            if server.poll() is not None or time.monotonic() > deadline:
                raise Unreachable(f"easel serve did not start: {last_line(log)} (all of it is in {log})")
            time.sleep(0.1)
    say(f"Started `easel serve` as process {server.pid}; it keeps running. Its log is {log}.")


def last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
