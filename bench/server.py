"""The server's figures beside their promises: start, latency, memory and rates, with the null engine.

    python bench/server.py

The load comes from this process, on the same cores as the server.
"""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from easel import Client

CLIENTS = 16
SECONDS = 5.0
JOBS = 40
GENERATE = "/generate/image/krea/krea-2/medium"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        with serving(Path(folder)) as (_, _, first, _):
            show("first start, database made", f"{first:.2f} s", "4 s or less")
        with serving(Path(folder)) as (url, token, again, process):
            show("start", f"{again:.2f} s", "4 s or less")
            show("submit to engine start, p50", f"{engine_start(url, token) * 1000:.0f} ms", "under 50 ms")
            show("API process, idle", f"{memory(process.pid):.0f} MB", "under 150 MB")
            body = json.dumps({"prompt": "a fox"}).encode()
            with Client(token, url) as client:
                job_id = client.submit("a fox").job_id
            load(url, token, "GET", f"/jobs/{job_id}", b"", "2,000/s or more, p99 under 30 ms")
            load(url, token, "POST", GENERATE, body, "800/s or more, p99 under 100 ms")
            show("API process, after the load", f"{memory(process.pid):.0f} MB", "under 150 MB")


def show(what: str, figure: str, promise: str) -> None:
    print(f"{what:<30}{figure:<28}promised: {promise}", flush=True)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, str, float, subprocess.Popen[bytes]]]:
    """`easel serve`: its address, a token, the seconds until it was ready, and its process."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    environment = os.environ | {"EASEL_DATA": str(folder / "data"), "EASEL_MODELS": "null"}
    began = time.monotonic()
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "easel", "serve", "--port", "0", "--ready-file", ready],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        while not ready.exists():
            assert process.poll() is None, (folder / "serve.log").read_text()
            time.sleep(0.01)
        said = json.loads(ready.read_text())
        yield said["url"], said["token"], time.monotonic() - began, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def engine_start(url: str, token: str) -> float:
    """Seconds from the job's row to the engine, for one job after another on an idle server."""
    waits = []
    with Client(token, url) as client:
        for _ in range(JOBS):
            picture = client.generate("a fox", model="medium-turbo")
            details = client.jobs.details(picture.job.job_id)
            assert details.started_at
            waits.append((details.started_at - details.created_at).total_seconds())
    return statistics.median(waits)


def memory(supervisor: int) -> float:
    """Resident megabytes of the API process that `easel serve` started."""
    children = psutil.Process(supervisor).children()
    (api,) = [child for child in children if "api" in child.cmdline()]
    return float(api.memory_info().rss) / 1e6


def load(url: str, token: str, method: str, path: str, body: bytes, promise: str) -> None:
    """Ask the same thing over and over on `CLIENTS` connections, and show rate and p99."""
    at = urlsplit(url)
    assert at.hostname
    assert at.port
    head = f"{method} {path} HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    took = asyncio.run(hammer(at.hostname, at.port, head.encode() + body))
    p99 = statistics.quantiles(took, n=100)[-1]
    show(f"{method}, {CLIENTS} clients", f"{len(took) / SECONDS:,.0f}/s, p99 {p99 * 1000:.0f} ms", promise)


async def hammer(host: str, port: int, request: bytes) -> list[float]:
    """The seconds that each answer took; on bare sockets, since an HTTP client costs more than the server."""
    end = time.monotonic() + SECONDS

    async def ask() -> list[float]:
        reader, writer = await asyncio.open_connection(host, port)
        took = []
        while (began := time.monotonic()) < end:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            took.append(time.monotonic() - began)
        writer.close()
        return took

    return [seconds for taken in await asyncio.gather(*(ask() for _ in range(CLIENTS))) for seconds in taken]


if __name__ == "__main__":
    main()
