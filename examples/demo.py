"""One picture through the whole stack: starts easel, asks for the picture over HTTP, keeps it, stops easel.

    PROMPT="a polar bear" REFERENCE=picture.png python examples/demo.py

All between `with easel()` and its end is what any program does that speaks to a Krea 2 API.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(os.path.relpath(Path(__file__).parent.parent))
OUT = ROOT / "out" / "demo"
PROMPT = os.environ.get("PROMPT", "a fox beside a fir tree on a hill at sunset")
REFERENCE = Path(os.environ.get("REFERENCE", ROOT / "docs" / "reference.png"))


def main() -> None:
    if not REFERENCE.is_file():
        sys.exit(f"There is no picture {str(REFERENCE)!r}: set REFERENCE to one")
    with easel() as (url, token), httpx.Client(base_url=url, timeout=30) as krea:
        krea.headers["Authorization"] = f"Bearer {token}"

        with REFERENCE.open("rb") as file:
            asset = answer(krea.post("/assets", files={"file": (REFERENCE.name, file)}))
        print(f"reference  {REFERENCE} → {asset['image_url']}")

        began = time.monotonic()
        job = answer(
            krea.post(
                "/generate/image/krea/krea-2/medium",
                json={
                    "prompt": PROMPT,
                    "aspect_ratio": "1:1",
                    "resolution": "1K",
                    "creativity": "medium",
                    "image_style_references": [{"url": asset["image_url"], "strength": 0.8}],
                },
            )
        )
        print(f"job        {job['job_id']} {job['status']}: {PROMPT}")

        show_progress(krea, job["job_id"])
        job = answer(krea.get(f"/jobs/{job['job_id']}"))
        if job["status"] != "completed":
            sys.exit(f"The job {job['status']}: {job.get('error')}")
        seconds = time.monotonic() - began
        details = answer(krea.get(f"/jobs/{job['job_id']}/details"))
        picture = OUT / f"{job['job_id'][:8]}.png"
        picture.write_bytes(httpx.get(job["result"]["urls"][0]).raise_for_status().content)

    print(f"picture    {picture}")
    print(f"cost       ${details['cost']}")
    print(f"time       {seconds:.1f} s from the request to the picture")


def show_progress(krea: httpx.Client, job_id: str) -> None:
    """Print each step of the job as the server tells it, until the stream ends with the job."""
    with krea.stream("GET", f"/jobs/{job_id}/events", timeout=300) as events:
        for line in events.iter_lines():
            if line.startswith("data:") and "step" in (progress := json.loads(line[5:])):
                done = "█" * progress["step"] + "░" * (progress["total"] - progress["step"])
                print(
                    f"\rpainting   {done} step {progress['step']} of {progress['total']}", end="", flush=True
                )
    print()


def answer(response: httpx.Response) -> dict:
    """The JSON of an answer; one that refuses says why."""
    if response.is_error:
        sys.exit(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text}"
        )
    return response.json()


@contextmanager
def easel() -> Iterator[tuple[str, str]]:
    """The whole system on a free port, with a new data folder of its own: its address and a token."""
    shutil.rmtree(OUT / "data", ignore_errors=True)
    OUT.mkdir(parents=True, exist_ok=True)
    ready = OUT / "ready.json"
    ready.unlink(missing_ok=True)
    began = time.monotonic()
    with (OUT / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "easel", "serve", "--port", "0", "--ready-file", ready],
            env=os.environ | {"EASEL_DATA": str(OUT / "data")},
            stdout=subprocess.DEVNULL,  # it prints the token
            stderr=log,
        )
    try:
        while not ready.exists():
            if server.poll() is not None:
                sys.exit(f"easel did not start:\n{(OUT / 'serve.log').read_text()}")
            time.sleep(0.05)
        said = json.loads(ready.read_text())
        print(f"easel      {said['url']}, ready after {time.monotonic() - began:.1f} s")
        yield said["url"], said["token"]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=15)
        print("stopped")


if __name__ == "__main__":
    main()
