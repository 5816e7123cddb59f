"""Whole programs in other languages, against a whole server.

python -m pytest tests/wire/test_programs.py
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answering import picture
from PIL import Image
from receiving import receiving
from serving import Served
from standardwebhooks import Webhook

PROGRAMS = Path(__file__).parent / "programs"

with_node = pytest.mark.skipif(shutil.which("node") is None, reason="node is not on the PATH")
LANGUAGES = [("sh", "sh"), pytest.param("node", "mjs", marks=with_node)]


def ran(served: Served, *command: object, **environment: str) -> str:
    """What a program prints."""
    named = {"KREA_BASE_URL": served.url, "KREA_API_TOKEN": served.token}
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | named | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def secret(served: Served) -> str:
    """The secret that verifies the server's webhooks, as its owner reads it."""
    command = [sys.executable, "-m", "easel", "webhooks", "secret"]
    return ran(served, *command, EASEL_DATA=str(served.data)).strip()


@pytest.mark.parametrize(("language", "suffix"), LANGUAGES)
def test_a_picture_in_the_look_of_another(served: Served, tmp_path: Path, language: str, suffix: str) -> None:
    look, made = tmp_path / "look.png", tmp_path / "made.png"
    look.write_bytes(picture())
    ran(served, language, PROGRAMS / f"picture.{suffix}", look, made)
    with Image.open(made) as image:
        assert (image.format, image.size) == ("PNG", (1248, 832))


def test_a_webhook_asked_for_by_curl(served: Served, secret: str) -> None:
    with receiving(204) as receiver:
        job = json.loads(ran(served, "sh", PROGRAMS / "webhook.sh", receiver.url))
        while not receiver.messages:
            time.sleep(0.02)
    ((headers, body),) = receiver.messages
    told = Webhook(secret).verify(body, headers)
    assert (told["job_id"], told["status"]) == (job["job_id"], "completed")


@with_node
def test_a_webhook_received_by_node(served: Served, secret: str) -> None:
    told = json.loads(ran(served, "node", PROGRAMS / "webhook.mjs", WEBHOOK_SECRET=secret))
    assert told["status"] == "completed"
