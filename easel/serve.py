"""The server: everything on one machine under one supervisor, or the API process alone."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import structlog

from easel.catalog import MODELS
from easel.errors import AddressInUse, Unavailable
from easel.licence import NOTICE, check_filtered
from easel.process import follow, log_to_stderr
from easel.settings import Settings
from easel.store import tokens, workspaces
from easel.store.database import Database
from easel.store.embedded import Embedded
from easel.store.opening import open_blobs, open_database

START_SECONDS = 60.0
STOP_SECONDS = 9.0
RESTART_SECONDS = 0.3  # before what died is started again; twice as long each time that it dies soon
MOST_RESTART_SECONDS = 30.0
STEADY_SECONDS = 60.0  # what died later than that had started well
WATCH_SECONDS = 1.0
LET_GO_SECONDS = 5.0  # that a server which was killed may take to leave its port

log = structlog.get_logger()


def serve(settings: Settings, ready_file: Path | None = None) -> None:
    """Run the database, one API process and one worker until SIGTERM; start again what dies."""
    log_to_stderr()
    check_filtered(settings)
    if settings.database_url:
        return _serve(settings, None, ready_file)
    embedded = Embedded(settings.data)
    url = embedded.start()
    try:
        _serve(settings.model_copy(update={"database_url": url}), embedded, ready_file)
    finally:
        embedded.stop()


def _serve(settings: Settings, embedded: Embedded | None, ready_file: Path | None) -> None:
    with listen(settings) as listener:
        asyncio.run(_supervise(settings, embedded, listener, ready_file))


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


async def _supervise(
    settings: Settings, embedded: Embedded | None, listener: socket.socket, ready_file: Path | None
) -> None:
    stopping = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopping.set)
    host, port = listener.getsockname()[:2]
    host = "127.0.0.1" if host == "0.0.0.0" else host
    async with open_database(settings) as database:
        welcome = await _prepare(database, settings, f"http://{host}:{port}")
    handed_down = {"supervisor": os.getpid(), "listening_socket": listener.fileno(), "port": port}
    environment = {**os.environ, **settings.model_copy(update=handed_down).environment()}
    server_file = settings.data / "server.json"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(keep_running("api", environment, stopping, pass_fds=[listener.fileno()]))
        tasks.create_task(keep_running("work", environment, stopping))
        if embedded:
            tasks.create_task(_keep_database(embedded, stopping))
        if await asyncio.to_thread(answers, host, port, stopping):
            print(welcome.text, flush=True)
            _write_private(server_file, json.dumps({**welcome.access, "pid": os.getpid()}))
            if ready_file:
                _write_private(ready_file, json.dumps(welcome.access))
        await stopping.wait()
        server_file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Welcome:
    """What those who come to the server need: for people, and for programs of this machine."""

    text: str
    access: dict[str, str]  # url, token


async def _prepare(database: Database, settings: Settings, url: str) -> Welcome:
    """This machine's token, which is shown when it is new and kept for the commands of this machine."""
    file = settings.data / "token"
    lines = [f"easel serves at {url}"]
    token = file.read_text().strip() if file.exists() else ""
    bearer = f"$(cat '{file}')"
    if await tokens.caller(database, token) is None:
        workspace = await workspaces.default(database)
        token = bearer = await tokens.create(database, workspace, "first")
        file.parent.mkdir(parents=True, exist_ok=True)
        _write_private(file, token)
        secret, *_ = await workspaces.webhook_secrets(database, workspace)
        lines += [f"Token, shown this once: {token}", f"Webhooks are signed with {secret}"]
    lines.append(
        f'Try: curl -s {url}/generate/image/krea/krea-2/medium -H "Authorization: Bearer {bearer}"'
        " -H 'Content-Type: application/json' -d '{\"prompt\": \"a fox in the snow\"}'"
    )
    if settings.models == "krea":
        lines.append(NOTICE)
    if unpainted := [variant for variant in MODELS if variant not in settings.painted]:
        left = ", ".join(unpainted if settings.trains else [*unpainted, "training"])
        rawless = "" if settings.krea_raw else " (EASEL_KREA_RAW is empty)"
        lines.append(f"Its worker takes no jobs for {left}: they wait for one that does{rawless}")
    return Welcome("\n".join(lines), {"url": url, "token": token})


async def keep_running(
    command: str, environment: dict[str, str], stopping: asyncio.Event, pass_fds: list[int] | None = None
) -> None:
    """Run `easel <command>`, again whenever it dies, until the stop; then see it out."""
    pause = RESTART_SECONDS
    while not stopping.is_set():
        begun = time.monotonic()
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
        if time.monotonic() - begun > STEADY_SECONDS:
            pause = RESTART_SECONDS
        died = {"command": command, "returncode": process.returncode}
        log.warning("Died, and is started again", **died, in_seconds=pause)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), pause)
        pause = min(2 * pause, MOST_RESTART_SECONDS)


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


def answers(host: str, port: int, stopping: asyncio.Event) -> bool:
    """Wait until the API answers; False when the stop came first."""
    deadline = time.monotonic() + START_SECONDS
    while not stopping.is_set():
        connection = HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse()
            return True
        except (OSError, HTTPException) as error:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"The API did not answer within {START_SECONDS:g} seconds: {error}"
                ) from None
        finally:
            connection.close()
    return False


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
