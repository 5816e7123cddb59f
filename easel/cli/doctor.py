"""`easel doctor`: what is wrong with this machine, and how to mend it."""

import asyncio
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from easel.cli.output import results
from easel.cli.settings import Models, settings_with
from easel.errors import EaselError, SafetyUnavailable
from easel.sdk.server import local

if TYPE_CHECKING:
    from easel.settings import Settings

DISK_GB = 2  # the database and some thousand pictures


class Trouble(EaselError):
    """Something that keeps easel from working, and how to mend it."""


def doctor(models: Models = None) -> None:
    """Say what is wrong with this machine and how to mend it."""
    well = examine({"Python": python, "packages": packages})
    if well:
        settings = settings_with(models=models)
        checks = {
            "data folder": data_folder,
            "disk": disk,
            "port": port,
            "database": database,
            "checkpoint": checkpoint,
            "safety": safety,
            "workers": workers,
        }
        well = examine({name: partial(check, settings) for name, check in checks.items()})
    raise typer.Exit(0 if well else 1)


def examine(checks: Mapping[str, Callable[[], str]]) -> bool:
    """Print what each check finds, and whether all is well."""
    well = True
    for name, check in checks.items():
        try:
            results.print(Text.assemble(("✓ ", "green"), f"{name:<13}", check()))
        except EaselError as error:
            well = False
            results.print(Text.assemble(("✗ ", "bold red"), f"{name:<13}", error.message))
    return well


def python() -> str:
    return f"{platform.python_version()} at {sys.executable}"


def packages() -> str:
    """All that the extras `server` and `worker` name."""
    needed = [text for text in requires("easel") or [] if "'dev'" not in text]
    names = {match[0] for text in needed if (match := re.match(r"[\w.-]+", text))}
    missing = sorted(name for name in names if not _installed(name))
    if missing:
        raise Trouble(f"{', '.join(missing)} missing: pip install 'easel[server,worker]'")
    return f"easel {version('easel')} and all {len(names)} packages that it needs"


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def data_folder(settings: "Settings") -> str:
    folder = _first_existing(settings.data)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Trouble(f"{folder} cannot be written: mend its rights, or set EASEL_DATA to another folder")
    return str(settings.data)


def disk(settings: "Settings") -> str:
    free = shutil.disk_usage(_first_existing(settings.data)).free / 1e9
    if free < DISK_GB:
        raise Trouble(f"{free:.1f} GB free: make room for {DISK_GB} GB, or set EASEL_DATA to another disk")
    return f"{free:.0f} GB free"


def _first_existing(folder: Path) -> Path:
    """`folder`, or the nearest one above it that exists."""
    return folder if folder.exists() else _first_existing(folder.parent)


def port(settings: "Settings") -> str:
    if server := local():
        return f"easel serves at {server.url}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise Trouble(
                f"{settings.host}:{settings.port}: {error.strerror}: stop it, or set EASEL_PORT to another"
            ) from None
    return f"{settings.port} is free"


def database(settings: "Settings") -> str:
    from sqlalchemy import text

    from easel.store.opening import open_database

    async def ask() -> str:
        async with open_database(settings) as database, database.read() as connection:
            return str(await connection.scalar(text("SHOW server_version")))

    where = "by EASEL_DATABASE_URL" if settings.database_url else "in the data folder"
    return f"PostgreSQL {asyncio.run(ask())} {where}"


def checkpoint(settings: "Settings") -> str:
    """The painter itself, loaded as the worker loads it; of Krea's weights, only what the files say."""
    if settings.models == "krea":
        from easel.engine.krea import best_device
        from easel.model import hub, open_weights

        open_weights.planned(*hub.places(settings.krea, hub.here))
        device = best_device(settings.device.split(",")[0])
        blind = device.type == "cpu" and not settings.device
        where = "the processor, in minutes a picture: PyTorch sees no GPU" if blind else str(device)
        return f"Krea's open weights, whole, for {where}"
    from easel.work import load_painter

    painter = load_painter(settings)
    return f"{painter.checkpoint}, painted by the {painter.engine} engine"


def safety(settings: "Settings") -> str:
    """The filter, asked once."""
    from easel.licence import check_filtered
    from easel.safety.guard import guard_of

    check_filtered(settings)
    if settings.is_unfiltered and settings.filtered_elsewhere:
        return f"off here, filtered elsewhere: {settings.filtered_elsewhere} (EASEL_FILTERED_ELSEWHERE)"
    if settings.is_unfiltered:
        raise Trouble("OFF: pictures of anything are painted, kept and shown; unset EASEL_SAFETY")
    try:
        asyncio.run(guard_of(settings).check_prompt("a fox"))
    except SafetyUnavailable as error:
        raise Trouble(f"{error.__cause__}: mend EASEL_MODERATION_URL or EASEL_MODERATION_KEY") from None
    return f"on, judged by {settings.moderation_url or 'the filter that ships'}"


def workers(settings: "Settings") -> str:
    """The workers that are alive, as they say of themselves."""
    from easel.store import queue, workers
    from easel.store.opening import open_database

    async def ask() -> tuple[list[workers.Worker], dict[str, int]]:
        async with open_database(settings) as database:
            waiting = {line: count for line, state, count in await queue.depth(database) if state == "queued"}
            return await workers.alive(database), waiting

    if not settings.database_url and not local():
        return "none now: `easel serve` starts one"
    alive, waiting = asyncio.run(ask())
    if not alive:
        raise Trouble("none is alive: start one with `easel work`")
    said = ", ".join(
        f"process {worker.pid} on {worker.host} {worker.state}"
        f"{f' with {worker.checkpoint}' if worker.checkpoint else ''} ({' '.join(worker.lines)})"
        for worker in alive
    )
    if not any(worker.state == "ready" for worker in alive):
        raise Trouble(f"{said}: {workers.why_idle(alive)}")
    idle = {line: why for line in queue.JOBS if (why := workers.why_waiting(alive, line))}
    for line, why in idle.items():
        if waiting.get(line):
            raise Trouble(f"{said}; jobs for {line} that wait: {waiting[line]}: {why}")
    return f"{said}; nobody takes jobs for {', '.join(idle)}" if idle else said
