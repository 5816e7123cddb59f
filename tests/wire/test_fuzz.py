"""Rule 8 of the contract, tried at random: the server does what its document says.

python -m pytest tests/wire/test_fuzz.py
"""

import subprocess
import sys
from pathlib import Path

from answering import Api, picture

ROOT = Path(__file__).parents[2]


def test_schemathesis_finds_nothing(api: Api) -> None:
    job = api.submit(webhook_url=f"{api.url}/hook")
    api.client.delete(f"/jobs/{job['job_id']}")
    api.upload(picture())
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/wire/fuzz.toml"),
        *("run", f"{api.url}/openapi.json", "-H", f"Authorization: {api.client.headers['Authorization']}"),
        *("--max-examples", "5", "--seed", "1"),
        # The first two wait for a worker, the last two are as medium.
        *("--exclude-path-regex", "^/readyz$|/events$|/large$|/medium-turbo$"),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
