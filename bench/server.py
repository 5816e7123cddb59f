"""The server's figures beside their promises: with the null engine, then the pace of nano.

    python bench/server.py

The load comes from this process, on the same cores as the server and its database. The filter is no part of
the null engine: where it is on, the row says so.
"""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psutil
from sqlalchemy import text

from easel import Client
from easel.serve import answers
from easel.settings import Settings
from easel.store import tokens, workspaces
from easel.store.embedded import Embedded
from easel.store.opening import open_database

CLIENTS = 16
SECONDS = 5.0
JOBS = 40
FINISHED_SECONDS = 10.0
MANY = 100_000
LISTS = {"100,000 jobs": "", "the failed, one in 1,000": "&status=failed", "large's, none": "&types=large"}
GENERATE = "/generate/image/krea/krea-2/medium"
COPY = """
    INSERT INTO jobs (id, workspace_id, status, variant, request, seed, cost, base_url,
        created_at, completed_at, file_key, error_code, error_message)
    SELECT gen_random_uuid(), workspace_id, CASE WHEN failed THEN 'failed' ELSE 'completed' END,
        variant, request, seed, cost, base_url, made_at, made_at, CASE WHEN failed THEN NULL ELSE 'a.png' END,
        CASE WHEN failed THEN 'engine_error' END, CASE WHEN failed THEN 'no' END
    FROM jobs, LATERAL (
        SELECT created_at - n * interval '1 second' AS made_at, n % 1000 = 0 AS failed
        FROM generate_series(1, :many) AS n
    ) AS copies
    WHERE id = :like
"""


def main() -> None:
    for measure in (null_engine, filtered, processes, nano):
        with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
            measure(Path(folder))


def null_engine(folder: Path) -> None:
    with serving(folder) as (_, _, first, _):
        show("first start, database made", f"{first:.2f} s", "4 s or less")
    with serving(folder) as (url, token, again, process), Client(token, url) as client:
        show("start", f"{again:.2f} s", "4 s or less")
        show("submit to engine start, p50", f"{engine_start(client) * 1000:.0f} ms", "under 25 ms")
        show("API process, idle", f"{memory(process.pid):.0f} MB", "under 150 MB")
        job_id, body = client.submit("a fox").job_id, json.dumps({"prompt": "a fox"}).encode()
        load(url, token, "GET", f"/jobs/{job_id}", b"", "2,000/s or more, p99 under 30 ms")
        load(url, token, "POST", GENERATE, body, "(none while a worker is at work on the same cores)")
        show("API process, after the load", f"{memory(process.pid):.0f} MB", "under 150 MB")
        show("jobs through one worker", f"{finished(client):,.0f}/s", "150/s or more")
        asyncio.run(fill(folder / "data", job_id))
        for what, query in LISTS.items():
            show(what, f"{pages(client, query) * 1000:.0f} ms a page", "under 20 ms")


def filtered(folder: Path) -> None:
    with serving(folder, EASEL_SAFETY="on") as (url, token, _, _), Client(token, url) as client:
        load(url, token, "POST", GENERATE, json.dumps({"prompt": "a fox"}).encode(), "")
        show("the same with the filter on", f"{finished(client):,.0f}/s", "(none)")


def processes(folder: Path) -> None:
    """API processes alone on a database, as in a fleet."""
    embedded = Embedded(folder)
    environment = os.environ | {"EASEL_DATA": str(folder), "EASEL_DATABASE_URL": embedded.start()}
    token = asyncio.run(new_token(environment["EASEL_DATABASE_URL"]))
    body = json.dumps({"prompt": "a fox"}).encode()
    running = []
    try:
        for promise in ("800/s or more, p99 under 100 ms", "1.6 times that"):
            port = free_port()
            command = [sys.executable, "-m", "easel", "api", "--port", str(port)]
            running.append((subprocess.Popen(command, env=environment), f"http://127.0.0.1:{port}"))
            assert answers("127.0.0.1", port, asyncio.Event())
            urls = [url for _, url in running]
            load(urls, token, "POST", GENERATE, body, promise, f"POST, {len(urls)} process(es)")
    finally:
        for process, _ in running:
            process.terminate()
            process.wait(30)
        embedded.stop()


async def new_token(url: str) -> str:
    async with open_database(Settings(database_url=url)) as database:
        return await tokens.create(database, await workspaces.default(database), "bench")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def nano(folder: Path) -> None:
    with (
        serving(folder, EASEL_MODELS="nano", EASEL_SAFETY="on") as (url, token, start, _),
        Client(token, url) as client,
    ):
        show("first 1K picture, with start", f"{start + picture(client):.1f} s", "15 s or less")
        show("warm 1K picture", f"{picture(client):.1f} s", "10 s or less")


def show(what: str, figure: str, promise: str) -> None:
    print(f"{what:<30}{figure:<28}promised: {promise}", flush=True)


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[tuple[str, str, float, subprocess.Popen[bytes]]]:
    """`easel serve`: its address, a token, the seconds until it was ready, and its process."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    null = {"EASEL_DATA": str(folder / "data"), "EASEL_MODELS": "null", "EASEL_SAFETY": "off"}
    environment = os.environ | null | settings
    began = time.monotonic()
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "easel", "serve", "--port", "0", "--ready-file", ready],
            env=environment,
            stdout=subprocess.DEVNULL,
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


def picture(client: Client) -> float:
    """Seconds from asking for a picture to having it."""
    began = time.monotonic()
    client.generate("a fox beside a fir tree on a hill at sunset")
    return time.monotonic() - began


def engine_start(client: Client) -> float:
    """Seconds from the job's row to the engine, for one job after another on an idle server."""
    waits = []
    for _ in range(JOBS):
        job = client.generate("a fox", model="medium-turbo").job
        details = client.jobs.details(job.job_id)
        assert details.started_at
        waits.append((details.started_at - details.created_at).total_seconds())
    return statistics.median(waits)


def memory(supervisor: int) -> float:
    """Resident megabytes of the API process that `easel serve` started."""
    children = psutil.Process(supervisor).children()
    (api,) = [child for child in children if "api" in child.cmdline()]
    return float(api.memory_info().rss) / 1e6


def finished(client: Client) -> float:
    """Jobs of a long queue that are finished in a second, from row to ledger."""
    began, before = time.monotonic(), charged(client)
    time.sleep(FINISHED_SECONDS)
    return (charged(client) - before) / (time.monotonic() - began)


def charged(client: Client) -> int:
    """How many pictures were charged."""
    return int(client.http.get("/usage").json()["pictures"])


async def fill(data: Path, like: UUID) -> None:
    """Copy a finished job many times, one in a thousand as failed, a second apart."""
    async with open_database(Settings(data=data)) as database, database.begin() as connection:
        await connection.execute(text(COPY), {"like": like, "many": MANY})


def pages(client: Client, query: str) -> float:
    """Seconds for a page of 100 jobs, from the newest on."""
    took, before = [], ""
    for _ in range(20):
        began = time.monotonic()
        listed = client.http.get(f"/jobs?limit=100{query}{before}").raise_for_status().json()
        took.append(time.monotonic() - began)
        before = f"&cursor={listed['next_cursor']}" if listed["next_cursor"] else ""
    return statistics.median(took)


def load(
    urls: str | list[str], token: str, method: str, path: str, body: bytes, promise: str, what: str = ""
) -> None:
    """Ask the same thing over and over on `CLIENTS` connections, and show rate and p99."""
    places = [urlsplit(url) for url in ([urls] if isinstance(urls, str) else urls)]
    head = f"{method} {path} HTTP/1.1\r\nHost: {places[0].netloc}\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    took = asyncio.run(hammer([(str(at.hostname), at.port or 80) for at in places], head.encode() + body))
    p99 = statistics.quantiles(took, n=100)[-1]
    rate = f"{len(took) / SECONDS:,.0f}/s, p99 {p99 * 1000:.0f} ms"
    show(what or f"{method}, {CLIENTS} clients", rate, promise)


async def hammer(places: list[tuple[str, int]], request: bytes) -> list[float]:
    """The seconds that each answer took; on bare sockets, since an HTTP client costs more than the server."""
    end = time.monotonic() + SECONDS

    async def ask(host: str, port: int) -> list[float]:
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

    asking = [ask(*places[client % len(places)]) for client in range(CLIENTS)]
    return [seconds for taken in await asyncio.gather(*asking) for seconds in taken]


if __name__ == "__main__":
    main()
