"""The worker: loads its painter and guard, then does one job at a time and delivers webhooks beside that."""

import asyncio
import os
import socket
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial

import structlog

from easel.errors import Cancelled, CheckpointError, EngineError, EngineLost, JobError, JobTimeout
from easel.ids import new_id
from easel.jobs.analyse import analyse
from easel.jobs.deliver import deliver
from easel.jobs.generate import generate
from easel.jobs.line import Line
from easel.jobs.train_style import train_style
from easel.jobs.workshop import Made, Workshop
from easel.safety.guard import Guard
from easel.schema.jobs import Progress
from easel.schema.painting import Painter
from easel.settings import Settings
from easel.store import claims, ends, events, queue, repeats, trainings, workers
from easel.store.blobs import Blobs
from easel.store.claims import Analysis, Claim, Generation, Training
from easel.store.database import AWAY, Database
from easel.store.queue import Entry

MOST_CLAIMS = 5  # a job that took as many workers down with it is given up
BEGUN_TOO_OFTEN = f"The job was begun {MOST_CLAIMS} times and its worker ended each time"
DELIVERIES_AT_ONCE = 100
TRAINING_SECONDS = 12 * 3600.0
PATIENCE_SECONDS = 60.0  # with a thread that is to leave a job, at least
YIELDING = 10  # how much a training gives way to the painting beside it, as `nice` counts it
RELOAD_SECONDS = 60.0  # until a checkpoint that could not be loaded is tried again
PRESENCE_SECONDS = 2.0
PRUNE_SECONDS = 600.0

log = structlog.get_logger()


class Worker:
    """One process's worth of work."""

    def __init__(
        self, database: Database, blobs: Blobs, settings: Settings, load: Callable[[], tuple[Painter, Guard]]
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._load = load
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="painter")
        self._trainer = ThreadPoolExecutor(1, thread_name_prefix="trainer", initializer=_give_way)
        lines = (*settings.painted, queue.ANALYSE)
        taken = (*lines, queue.TRAIN) if settings.trains else lines
        self._self = workers.Worker(new_id(), socket.gethostname(), os.getpid(), "loading", taken)
        self._news = asyncio.Event()  # the state has changed
        self._stopped = asyncio.Event()
        self._tools: tuple[Painter, Guard] | None = None
        self._lost: EngineLost | None = None
        self._jobs = Line(database, lines, self._self.id, 1, self._do)
        self._trainings = Line(database, [queue.TRAIN], self._self.id, 1, self._train)
        self._receivers: Counter[str] = Counter()  # being sent to
        self._deliveries = Line(database, [queue.DELIVER], self._self.id, DELIVERIES_AT_ONCE, self._deliver)

    def stop(self) -> None:
        """Take nothing more, finish what is begun."""
        self._stopped.set()
        self._jobs.stop()
        self._trainings.stop()
        self._deliveries.stop()

    async def run(self) -> None:
        """Work until stopped; without a painter yet, deliver webhooks and leave jobs to other workers.

        EngineLost where the painter can go on only in a new process."""
        background = [asyncio.create_task(self._be_present()), asyncio.create_task(self._prune())]
        delivering = asyncio.create_task(self._deliveries.run())
        while not self._tools and not self._stopped.is_set():
            await self._load_tools()
        begun = [delivering]
        if self._tools:
            begun.append(asyncio.create_task(self._jobs.run()))
        if self._tools and self._settings.trains:
            begun.append(asyncio.create_task(self._trainings.run()))
        await asyncio.gather(*begun)
        for task in background:
            task.cancel()
        if self._lost:
            await workers.say(self._database, self._self)  # so that it is known why, until it is forgotten
            raise self._lost
        await workers.leave(self._database, self._self.id)

    async def _load_tools(self) -> None:
        """Load them; where they cannot be, wait a while: what is missing may come."""
        try:
            painter, guard = await asyncio.get_running_loop().run_in_executor(self._thread, self._load)
        except EngineLost as lost:
            self._lose(lost)
        except Exception as error:
            known = isinstance(error, CheckpointError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            if reason != self._self.error:
                log.error("The checkpoint cannot be loaded: it is tried again every minute", error=reason)
            self._self = replace(self._self, state="failed", error=reason)
            self._news.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), RELOAD_SECONDS)
        else:
            self._tools = painter, guard
            self._self = replace(
                self._self, state="ready", error=None, engine=painter.engine, checkpoint=painter.checkpoint
            )
            self._news.set()
            log.info("Ready", checkpoint=painter.checkpoint, takes=" ".join(self._self.lines))

    async def _do(self, entry: Entry) -> None:
        claim = await claims.claim(self._database, entry.row)
        if claim is None:
            return await ends.discard(self._database, entry)
        workshop = self._workshop(claim, entry)
        try:
            made = await self._made(claim, workshop)
        except Cancelled:
            await ends.discard(self._database, entry)
        except EngineLost as lost:
            self._lose(lost)
            await self._hand_on(claim, entry, lost)
        except JobTimeout as error:
            await self._fail(claim, entry, error)
            await self._see_left(workshop)
        except JobError as error:
            await self._fail(claim, entry, error)
        else:
            await ends.complete(self._database, claim, entry, **vars(made), limits=self._settings.limits)

    def _lose(self, lost: EngineLost) -> None:
        """Take nothing more, and end: a new process may go on."""
        log.error("The engine is lost, and the worker ends", error=lost.message)
        self._lost = self._lost or lost
        self._self = replace(self._self, state="failed", error=f"the engine was lost: {self._lost.message}")
        self._news.set()
        self.stop()

    async def _hand_on(self, claim: Claim, entry: Entry, lost: EngineLost) -> None:
        """Let another worker begin the job, unless it has taken enough of them down."""
        if claim.claims < MOST_CLAIMS:
            return await claims.give_back(self._database, claim, entry)
        await self._fail(claim, entry, EngineError(f"{BEGUN_TOO_OFTEN}: {lost.message}"))

    async def _fail(self, claim: Claim, entry: Entry, error: JobError) -> None:
        log.warning("Job failed", job=str(claim.id), code=error.code, error=error.message)
        await ends.fail(
            self._database,
            claim,
            entry,
            code=error.code,
            message=error.message,
            limits=self._settings.limits,
        )

    async def _see_left(self, workshop: Workshop) -> None:
        """Take no other job until the thread has left one that timed out, which it does behind a step: that
        takes no longer than a whole picture may."""
        seconds = max(PATIENCE_SECONDS, self._settings.job_timeout)
        if not await workshop.is_left(seconds):
            self._lose(EngineLost(f"a job timed out, and {seconds:g} seconds later was still being painted"))

    async def _train(self, entry: Entry) -> None:
        await self._do(entry)
        await trainings.sweep(self._database, self._blobs, entry.row)

    def _workshop(self, claim: Claim, entry: Entry) -> Workshop:
        assert self._tools, "jobs are taken once the painter is loaded"
        painter, guard = self._tools
        return Workshop(
            painter,
            guard,
            self._trainer if isinstance(claim, Training) else self._thread,
            self._database,
            self._blobs,
            self._settings.allow_networks,
            leave=partial(self._jobs.release, entry),
        )

    async def _made(self, claim: Generation | Analysis | Training, workshop: Workshop) -> Made:
        if claim.claims > MOST_CLAIMS:
            raise EngineError(BEGUN_TOO_OFTEN)
        trains = isinstance(claim, Training)
        seconds = TRAINING_SECONDS if trains else self._settings.job_timeout

        async def report(progress: Progress) -> None:
            await claims.report(self._database, claim, progress)

        try:
            async with asyncio.timeout(seconds) as limit:
                match claim:
                    case Training():
                        return await train_style(claim, workshop, report)
                    case Analysis():
                        return await analyse(claim, workshop, report)
                    case Generation():
                        return await generate(claim, workshop, report)
        except TimeoutError:
            if not limit.expired():
                raise
            remedy = "" if trains else ": raise EASEL_JOB_TIMEOUT where pictures take longer"
            raise JobTimeout(f"The job was not done within {seconds:g} seconds{remedy}") from None

    async def _deliver(self, entry: Entry) -> None:
        await deliver(entry, self._database, self._settings.allow_networks, self._receivers)

    async def _be_present(self) -> None:
        while True:
            self._news.clear()
            try:
                await workers.say(self._database, self._self)
            except AWAY as error:
                log.warning("The database is away", error=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), PRESENCE_SECONDS)

    async def _prune(self) -> None:
        while True:
            try:
                async with self._database.begin() as connection:
                    for forget in (events.prune, repeats.prune, queue.prune, workers.prune):
                        await forget(connection)
            except AWAY as error:
                log.warning("The database is away", error=str(error))
            await asyncio.sleep(PRUNE_SECONDS)


def _give_way() -> None:
    """Lower the priority of this thread, and of those that it starts, where the system can."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), YIELDING)
