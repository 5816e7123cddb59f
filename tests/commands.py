"""The `easel` command as a user runs it: a process, its output, its exit code."""

import os
import subprocess
import sys

from serving import Served


def easel(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What came of `easel` with these words."""
    return subprocess.run(
        [sys.executable, "-m", "easel", *words],
        env=clean(environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


def clean(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a command, without what the one who runs the tests has set for easel."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("KREA_", "EASEL_"))
    }
    return inherited | {"COLUMNS": "200", "EASEL_MODELS": "null"} | environment


def at(served: Served) -> dict[str, str]:
    """The environment that leads a command to a server."""
    return {"KREA_BASE_URL": served.url, "KREA_API_KEY": served.token}
