"""What the server counts: requests as they pass, and the queue and its workers when asked."""

import time
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from easel.store.workers import Worker


class Meters:
    """The numbers of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = Counter(
            "easel_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "easel_request_seconds", "Time to the answer's first byte.", ["route"], registry=self.registry
        )
        self.queue = Gauge("easel_queue", "Entries of the queue.", ["work", "state"], registry=self.registry)
        self.jobs = Gauge("easel_jobs", "Jobs that have not ended.", ["state"], registry=self.registry)
        self.workers = Gauge("easel_workers", "Workers by state.", ["state"], registry=self.registry)

    def set_queue(self, depth: Sequence[tuple[str, str, int]]) -> None:
        """Tell how much work there is."""
        self.queue.clear()
        for work, state, count in depth:
            self.queue.labels(work, state).set(count)

    def set_jobs(self, states: Mapping[str, int]) -> None:
        """Tell how many jobs there are in each state before their end."""
        for state in ("backlogged", "queued", "processing"):
            self.jobs.labels(state).set(states.get(state, 0))

    def set_workers(self, workers: Sequence[Worker]) -> None:
        """Tell who works."""
        for state in ("loading", "ready", "failed"):
            self.workers.labels(state).set(sum(worker.state == state for worker in workers))


class Metered:
    """Counts and times the requests that pass through to `app`."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self.app = app
        self.meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        begun = time.perf_counter()

        async def metered_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "unknown")
                self.meters.requests.labels(scope["method"], route, message["status"]).inc()
                self.meters.seconds.labels(route).observe(time.perf_counter() - begun)
            await send(message)

        await self.app(scope, receive, metered_send)
