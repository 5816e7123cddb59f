"""An API process without a worker: the app under uvicorn in a thread, over real HTTP and a real database."""

import asyncio
import base64
import io
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import uvicorn
from databases import opened
from PIL import Image
from sqlalchemy import update

from easel.api.app import create_app
from easel.ids import new_file_key
from easel.jobs.deliver import deliver
from easel.schema.jobs import Progress
from easel.schema.styles import TrainedModel
from easel.settings import Settings
from easel.signing import new_webhook_secret
from easel.store import claims, ends, queue, styles, tables, tokens, webhooks, workspaces
from easel.store.blobs import Blobs
from easel.store.database import Database

MEDIUM = "/generate/image/krea/krea-2/medium"
LOOPBACK = ["127.0.0.0/8"]
WEBHOOK_SECRET = new_webhook_secret()


@dataclass(frozen=True)
class Api:
    """A running API, a client of it, and a way into its store."""

    url: str
    client: httpx.Client
    database_url: str
    blobs: Blobs

    @property
    def token(self) -> str:
        """The client's."""
        return self.client.headers["Authorization"].removeprefix("Bearer ")

    def store(self, work: Callable[[Database], Awaitable[Any]]) -> Any:
        """Do something with the database that the API works on."""

        async def done() -> Any:
            async with opened(self.database_url) as database:
                return await work(database)

        return asyncio.run(done())

    def submit(self, webhook_url: str | None = None, **fields: Any) -> dict[str, Any]:
        """A job, submitted."""
        headers = {"X-Webhook-URL": webhook_url} if webhook_url else {}
        answer = self.client.post(MEDIUM, json={"prompt": "a fox", **fields}, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def upload(self, data: bytes, **fields: str) -> dict[str, Any]:
        """An asset, uploaded."""
        answer = self.client.post("/assets", files={"file": ("fox.png", data)}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def make_moodboard(self, **fields: Any) -> dict[str, Any]:
        """A moodboard, made; of one picture, unless `fields` say otherwise."""
        pictures = fields or {"asset_ids": [self.upload(picture())["id"]]}
        answer = self.client.post("/moodboards", json={"name": "a board", **pictures})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def make_style(self, model: TrainedModel = "k2", trigger_word: str = "") -> str:
        """A style of the caller's, without its training: its id."""

        async def made(database: Database) -> str:
            caller = await tokens.caller(database, self.token)
            assert caller
            style = styles.NewStyle(uuid4(), "a style", model, trigger_word)
            await self.blobs.put(style.key, b"an adapter")
            await styles.add(database, caller.workspace_id, style)
            return str(style.id)

        return self.store(made)

    def begin(self, job: dict[str, Any]) -> tuple[claims.Claim, queue.Entry]:
        """A queued job, claimed as a worker would."""

        async def claimed(database: Database) -> tuple[claims.Claim, queue.Entry]:
            entries = await queue.take(database, queue.PAINT, uuid4(), 1000)
            [entry] = [entry for entry in entries if entry.row == UUID(job["job_id"])]
            claim = await claims.claim(database, entry.row)
            assert claim is not None
            return claim, entry

        return self.store(claimed)

    def step(self, claim: claims.Claim, step: int) -> None:
        """A step of progress, reported."""
        progress = Progress(step=step, total=8, preview="data:image/jpeg;base64,AAAA")
        self.store(lambda database: claims.report(database, claim, progress))

    def complete(self, claim: claims.Claim, entry: queue.Entry, picture: bytes) -> None:
        """The claimed job, ended with `picture`."""

        async def completed(database: Database) -> None:
            key = new_file_key("png")
            await self.blobs.put(key, picture)
            await ends.complete(
                database, claim, entry, file_key=key, expanded_prompt="a red fox", engine="null",
                checkpoint="null-1", details={"timings": {"paint_seconds": 1}},
            )  # fmt: skip

        self.store(completed)

    def deliver(self) -> None:
        """All webhooks that are due on this machine, sent."""

        async def delivered(database: Database) -> None:
            for entry in await queue.take(database, [queue.DELIVER], uuid4(), 1000):
                if (await webhooks.message(database, entry.row)).url.startswith("http://127.0.0.1"):
                    await deliver(entry, database, LOOPBACK, Counter())

        self.store(delivered)

    def fail(self, claim: claims.Claim, entry: queue.Entry) -> None:
        """The claimed job, ended without a picture."""
        failure = {"code": "engine_error", "message": "out of paint"}
        self.store(lambda database: ends.fail(database, claim, entry, **failure))


@contextmanager
def answering(database_url: str, folder: Path, **settings: Any) -> Iterator[Api]:
    """The API on a free port, for the length of a block; it may reach this machine's own addresses."""
    blobs = Blobs((folder / "blobs").as_uri())
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # else asyncio leaves Nagle on, at 40 ms an answer
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    servers: list[uvicorn.Server] = []
    listening = threading.Event()

    async def run() -> None:
        async with opened(database_url) as database:
            app = create_app(Settings(data=folder, allow_networks=LOOPBACK, **settings), database, blobs)
            config = uvicorn.Config(app, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
            servers.append(uvicorn.Server(config))
            listening.set()
            await servers[0].serve(sockets=[listener])

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert listening.wait(10)

    try:
        with client_of(url) as client:
            yield Api(url, client, database_url, blobs)
    finally:
        servers[0].should_exit = True
        thread.join()


def picture(width: int = 64, height: int = 48, format: str = "PNG", colour: str = "orange") -> bytes:
    """A small picture file."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, format)
    return buffer.getvalue()


@contextmanager
def in_new_workspace(api: Api) -> Iterator[Api]:
    """The same API for a caller in a workspace of its own."""

    async def made(database: Database) -> str:
        workspace = await workspaces.create(database, f"test {uuid4()}", "owner")
        its_own = update(tables.Workspace).where(tables.Workspace.id == workspace)
        async with database.begin() as connection:
            await connection.execute(its_own.values(webhook_secrets=[WEBHOOK_SECRET]))
        return await tokens.create(database, workspace, "test")

    with client_of(api.url, Authorization=f"Bearer {api.store(made)}") as client:
        yield replace(api, client=client)


def client_of(url: str, **headers: str) -> httpx.Client:
    """A client of plain HTTP: the certificates that it does not need would take it longer than a test."""
    return httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False, verify=False)


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def colours(count: int) -> list[bytes]:
    """So many pictures, each in a colour of its own."""
    return [picture(colour=f"#{37 * number % 256:02x}{number:02x}80") for number in range(count)]


def ended(api: Api, job_id: str) -> dict[str, Any]:
    """The job, once it has ended."""
    with api.client.stream("GET", f"/jobs/{job_id}/events") as stream:
        stream.read()
    return api.client.get(f"/jobs/{job_id}").json()


def details(api: Api, **fields: Any) -> dict[str, Any]:
    """What is told of a picture that was painted."""
    job = ended(api, api.submit(**fields)["job_id"])
    assert job["status"] == "completed", job
    return api.client.get(f"/jobs/{job['job_id']}/details").json()


def files(api: Api) -> int:
    """How many files are kept."""
    return sum(len(batch) for batch in api.blobs._store.list())
