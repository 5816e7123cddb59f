"""The server: everything on one machine under one supervisor, or the API process alone."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import structlog

from easel.errors import AddressInUse, Unavailable
from easel.process import follow, log_to_stderr
from easel.settings import Settings
from easel.store import tokens, workspaces
from easel.store.database import Database
from easel.store.embedded import Embedded
from easel.store.opening import open_blobs, open_database

START_SECONDS = 60.0
STOP_SECONDS = 9.0
RESTART_SECONDS = 0.3
WATCH_SECONDS = 1.0
LET_GO_SECONDS = 5.0  # that a server which was killed may take to leave its port

log = structlog.get_logger()


def serve(settings: Settings, ready_file: Path | None = None) -> None:
    """Run the database, one API process and one worker until SIGTERM; start again what dies."""
    log_to_stderr()
    embedded = None if settings.database_url else Embedded(settings.data)
    url = settings.database_url or (embedded.start() if embedded else "")
    try:
        with listen(settings) as listener:
            asyncio.run(
                _serve(settings.model_copy(update={"database_url": url}), embedded, listener, ready_file)
            )
    finally:
        if embedded:
            embedded.stop()


def listen(settings: Settings) -> socket.socket:
    """The socket that API processes answer on: while one starts again, callers wait instead of failing."""
    deadline = time.monotonic() + LET_GO_SECONDS
    while True:
        try:
            return socket.create_server((settings.host, settings.port), backlog=1024)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise AddressInUse(
                    f"Cannot listen on {settings.host}:{settings.port} ({error.strerror}): "
                    "stop what does, or choose another port with --port or EASEL_PORT"
                ) from error
            time.sleep(0.1)


async def _serve(
    settings: Settings, embedded: Embedded | None, listener: socket.socket, ready_file: Path | None
) -> None:
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    host, port = listener.getsockname()[:2]
    url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
    token, first = await _prepare(settings)
    handed_down = {"supervisor": os.getpid(), "listening_socket": listener.fileno(), "port": port}
    environment = {**os.environ, **settings.model_copy(update=handed_down).environment()}
    server_file = settings.data / "server.json"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_running("api", environment, stopping, pass_fds=[listener.fileno()]))
        tasks.create_task(keep_running("work", environment, stopping))
        if embedded:
            tasks.create_task(_keep_database(embedded, stopping))
        if await asyncio.to_thread(answers, url, stopping):
            await _announce(settings, url, token if first else None)
            _write_private(server_file, json.dumps({"url": url, "token": token, "pid": os.getpid()}))
            if ready_file:
                _write_private(ready_file, json.dumps({"url": url, "token": token}))
        await stopping.wait()
        server_file.unlink(missing_ok=True)


async def _prepare(settings: Settings) -> tuple[str, bool]:
    """Tables, and this machine's token; whether it was made just now."""
    database = Database(settings.database_url or "")
    await database.migrate()
    file = settings.data / "token"
    settings.data.mkdir(parents=True, exist_ok=True)
    token = file.read_text().strip() if file.exists() else ""
    first = await tokens.caller(database, token) is None
    if first:
        token = await tokens.create(database, "first")
        _write_private(file, token)
    await database.close()
    return token, first


async def keep_running(
    command: str, environment: dict[str, str], stopping: asyncio.Event, pass_fds: list[int] | None = None
) -> None:
    """Run `easel <command>`, again whenever it dies, until the stop; then see it out."""
    while not stopping.is_set():
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "easel", command),
            env=environment,
            pass_fds=pass_fds or (),
            start_new_session=True,  # Ctrl-C reaches the supervisor alone
        )
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait({stop, asyncio.create_task(process.wait())}, return_when="FIRST_COMPLETED")
        stop.cancel()
        if stopping.is_set():
            return await _see_out(process)
        log.warning("Died, and is started again", command=command, returncode=process.returncode)
        await asyncio.sleep(RESTART_SECONDS)


async def _see_out(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def _keep_database(embedded: Embedded, stopping: asyncio.Event) -> None:
    while not stopping.is_set():
        if not embedded.running():
            log.warning("Died, and is started again", command="postgres")
            await asyncio.to_thread(embedded.start)
        await asyncio.sleep(WATCH_SECONDS)


def answers(url: str, stopping: asyncio.Event) -> bool:
    """Wait until the API answers; False when the stop came first."""
    deadline = time.monotonic() + START_SECONDS
    while not stopping.is_set():
        try:
            urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
            return True
        except OSError as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The API did not answer within {START_SECONDS:g} seconds: {error}"
                ) from None
    return False


async def _announce(settings: Settings, url: str, token: str | None) -> None:
    """Say, once everything is there, how to use it; the token only when it is new."""
    print(f"easel serves at {url}")
    bearer = token or f"$(cat '{settings.data / 'token'}')"
    if token:
        database = Database(settings.database_url or "")
        secret, *_ = await workspaces.webhook_secrets(database, await workspaces.default(database))
        await database.close()
        print(f"Token, shown this once: {token}")
        print(f"Webhooks are signed with {secret}")
    print(
        f'Try: curl -s {url}/generate/image/krea/krea-2/medium -H "Authorization: Bearer {bearer}"'
        " -H 'Content-Type: application/json' -d '{\"prompt\": \"a fox in the snow\"}'",
        flush=True,
    )


def _write_private(file: Path, content: str) -> None:
    """Write `file` whole, readable by its owner alone."""
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(content)
    beside.replace(file)


def api(settings: Settings) -> None:
    """Run one API process until SIGTERM."""
    import uvloop

    log_to_stderr()
    uvloop.run(_api(settings))


async def _api(settings: Settings) -> None:
    import uvicorn

    from easel.api.app import create_app

    async with open_database(settings) as database:
        config = uvicorn.Config(
            create_app(settings, database, open_blobs(settings)),
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=3,
        )
        server = uvicorn.Server(config)

        def stop() -> None:
            server.should_exit = True

        following = asyncio.get_running_loop().create_task(follow(settings.supervisor, stop))
        inherited = settings.listening_socket
        await server.serve([socket.socket(fileno=inherited)] if inherited is not None else None)
        following.cancel()
