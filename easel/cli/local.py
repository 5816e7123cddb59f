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
    """Wait until `easel serve` is ready; start it in the background, unless somebody has just done so."""
    from easel.store.embedded import is_owned

    data = settings_with().data
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    server = None if is_owned(data) else launched(log)
    deadline = time.monotonic() + PATIENCE
    with remarks.status("starting easel on this machine"):
        while not local():
            if server and server.poll() is not None:
                raise Unreachable(f"easel serve did not start: {last_line(log)} (all of it is in {log})")
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The server on the data folder {str(data)!r} is not ready: see what it prints"
                )
            time.sleep(0.1)
    if server:
        say(f"Started `easel serve` as process {server.pid}; it keeps running. Its log is {log}.")


def launched(log: Path) -> subprocess.Popen[bytes]:
    """`easel serve` in the background."""
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "easel", "serve"],
            stdout=subprocess.DEVNULL,  # what it prints holds the token, which belongs in no log
            stderr=output,
            start_new_session=True,
        )


def last_line(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
