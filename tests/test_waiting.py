"""Who asks for something that no worker begins is told why. Alone: python -m pytest tests/test_waiting.py"""

import asyncio
import logging
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from answering import Api, picture
from commands import clean

from easel import AsyncClient, Client, Waiting, errors
from easel.cli.doctor import Trouble
from easel.cli.doctor import workers as doctor_of_workers
from easel.settings import Settings
from easel.store import events, workers
from easel.store.workers import Worker, why_waiting

NOBODY = "no running worker takes jobs for medium: start one with `easel work`"
LOADING = Worker(UUID(int=7), "here", 7, "loading", ["medium", "medium-turbo"])
FAILED = replace(LOADING, state="failed", error="'/krea' is cut short; start again")
READY = replace(LOADING, state="ready", engine="krea")


@pytest.fixture
def server(alone: Api, monkeypatch: pytest.MonkeyPatch) -> Api:
    """An API whose streams look around every other moment."""
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.05)
    return alone


def test_a_job_is_told_why_it_waits_and_again_when_the_reason_changes(server: Api) -> None:
    def is_said(worker: Worker) -> None:
        server.store(lambda database: workers.say(database, worker))

    def next_but(because: str) -> str:
        return next(news.because for news in told if isinstance(news, Waiting) and news.because != because)

    with Client(server.token, server.url) as client:
        job = client.submit("a fox")
        told = client.jobs.follow(job.job_id)
        assert next(told) == Waiting(because=NOBODY)
        is_said(LOADING)
        loading = next_but(NOBODY)
        assert loading == "a worker is loading its checkpoint"
        is_said(FAILED)
        assert next_but(loading) == FAILED.error
        is_said(READY)
        client.jobs.cancel(job.job_id)
        assert [news.status for news in told] == ["cancelled"]  # type: ignore[union-attr]


def test_a_reason_is_told_once_and_a_quiet_stream_says_that_it_is_there(server: Api) -> None:
    job = server.submit()
    with server.client.stream("GET", f"/jobs/{job['job_id']}/events") as answer:
        lines = (line for line in answer.iter_lines() if line)
        assert [next(lines) for _ in range(4)] == [
            "event: waiting",
            f'data: {{"because":"{NOBODY}"}}',
            ": nothing new",
            ": nothing new",
        ]


class Cancelling(logging.Handler):
    """Keeps what is said, and cancels what waits."""

    def __init__(self, server: Api) -> None:
        super().__init__()
        self.server = server
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        cancel_all(self.server)


def cancel_all(server: Api) -> None:
    for job in server.client.get("/jobs?status=queued").json()["items"]:
        server.client.delete(f"/jobs/{job['job_id']}")


def test_a_client_that_is_not_told_how_to_say_it_warns(server: Api) -> None:
    async def awaited() -> None:
        async with AsyncClient(server.token, server.url) as client:
            with pytest.raises(errors.Cancelled):
                await client.generate("a fox")

    log, heard = logging.getLogger("easel"), Cancelling(server)
    log.addHandler(heard)
    try:
        with Client(server.token, server.url) as client, pytest.raises(errors.Cancelled):
            client.generate("a fox")
        asyncio.run(awaited())
    finally:
        log.removeHandler(heard)
    assert heard.said == [f"The job waits: {NOBODY}"] * 2


def waiting(server: Api, folder: Path, words: list[str]) -> subprocess.Popen[str]:
    """A command, in a folder with a picture."""
    (folder / "fox.png").write_bytes(picture())
    return subprocess.Popen(
        [sys.executable, "-m", "easel", *words],
        env=clean({"KREA_BASE_URL": server.url, "KREA_API_KEY": server.token}),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in background jobs
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["generate", "a fox"], "medium"),
        (["generate", "a fox", "--json"], "medium"),
        (["moodboard", "create", "prints", "fox.png"], "analysis"),
        (["style", "train", "prints", *["fox.png"] * 3], "training"),
    ],
)
def test_a_command_says_why_it_waits(server: Api, tmp_path: Path, words: list[str], line: str) -> None:
    with waiting(server, tmp_path, words) as process:
        assert process.stderr
        says = f"It waits: no running worker takes jobs for {line}: start one with `easel work`.\n"
        assert process.stderr.readline() == says
        cancel_all(server)
        results, remarks = process.communicate(timeout=30)
    assert (process.returncode, results, remarks.strip()) == (1, "", "easel: The job was cancelled.")


def test_the_doctor_says_of_a_worker_that_could_not_load_what_to_do(server: Api) -> None:
    settings = Settings(database_url=server.database_url)
    with pytest.raises(Trouble, match=r"^none is alive: start one with `easel work`$"):
        doctor_of_workers(settings)
    server.store(lambda database: workers.say(database, FAILED))
    with pytest.raises(Trouble, match=r"^process 7 on here failed .*: '/krea' is cut short; start again$"):
        doctor_of_workers(settings)
    server.store(lambda database: workers.say(database, replace(READY, checkpoint="krea-2-c0ffee")))
    assert "process 7 on here ready with krea-2-c0ffee (medium medium-turbo)" in doctor_of_workers(settings)


@pytest.mark.parametrize(
    "words", [["moodboard", "create", "prints", "fox.png"], ["style", "train", "prints", *["fox.png"] * 3]]
)
def test_a_command_that_is_interrupted_leaves_no_job(server: Api, tmp_path: Path, words: list[str]) -> None:
    with waiting(server, tmp_path, words) as process:
        assert process.stderr
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, remarks = process.communicate(timeout=30)
    assert (process.returncode, remarks.splitlines()[-1]) == (130, "Cancelled.")
    assert {job["status"] for job in server.client.get("/jobs").json()["items"]} == {"cancelled"}


@pytest.mark.parametrize("line", ["large", "training"])
def test_where_kreas_weights_paint_without_raw_the_remedy_is_raw(line: str) -> None:
    told = f"no running worker takes jobs for {line}: start one with `easel work`"
    assert why_waiting([], line) == why_waiting([replace(READY, engine="nano")], line) == told
    assert why_waiting([READY], line) == f"{told}, and EASEL_KREA_RAW set to Krea-2-Raw"
