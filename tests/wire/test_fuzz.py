"""Rule 8 of the contract, tried at random: the server does what its document says.

python -m pytest tests/wire/test_fuzz.py
"""

import subprocess
import sys
from pathlib import Path

import httpx
from answering import MEDIUM, picture
from serving import serving

from wire.reading import A_FOX

ROOT = Path(__file__).parents[2]


def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    with serving(tmp_path, EASEL_ALLOW_NETWORKS='["127.0.0.0/8"]') as served:
        headers = {"Authorization": f"Bearer {served.token}"}
        httpx.post(
            served.url + MEDIUM, json=A_FOX, headers={**headers, "X-Webhook-URL": "http://127.0.0.1:9/"}
        )
        httpx.post(f"{served.url}/assets", files={"file": picture()}, headers=headers)
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/wire/fuzz.toml"),
            *("run", f"{served.url}/openapi.json", "-H", f"Authorization: {headers['Authorization']}"),
            *("--max-examples", "5", "--seed", "1"),
        ]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
