"""The client for asyncio: the methods of `Client`, awaited."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack
from uuid import UUID

import httpx

from easel.errors import TooManyRequests, Unavailable, Unreachable
from easel.schema.assets import Asset
from easel.schema.jobs import TERMINAL, Job, JobDetails, Progress, Status, Waiting
from easel.schema.moodboards import Moodboard, ShareLink
from easel.schema.pages import Page
from easel.schema.styles import Shared, Style
from easel.sdk import calls
from easel.sdk.calls import (
    Board,
    Call,
    Changes,
    Reference,
    Search,
    Source,
    StyleWishes,
    TrainedStyle,
    Training,
    Variant,
    Wishes,
)
from easel.sdk.events import EventReader
from easel.sdk.pictures import Picture
from easel.sdk.server import find

Answer = TypeVar("Answer")


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited."""

    def __init__(self, api_key: str | None = None, base_url: str | None = None) -> None:
        self.server = find(base_url, api_key)
        self.http = httpx.AsyncClient(base_url=self.server.url, auth=self.server.sign, timeout=calls.TIMEOUT)
        self.jobs = AsyncJobs(self)
        self.assets = AsyncAssets(self)
        self.moodboards = AsyncMoodboards(self)
        self.styles = AsyncStyles(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def generate(
        self,
        prompt: str,
        *,
        references: Sequence[Reference] = (),
        styles: Sequence[TrainedStyle] = (),
        moodboards: Sequence[Board] = (),
        image: Source | None = None,
        model: Variant = "medium",
        on_progress: Callable[[Progress], None] | None = None,
        on_wait: Callable[[str], None] = calls.warn_of_wait,
        **wishes: Unpack[Wishes],
    ) -> Picture:
        """Paint `prompt` in the look of `references` and `styles`, in a board's direction, over `image`.

        Interrupted, it cancels the job. `on_wait` hears why no worker begins it, and again when the reason
        changes; unless given, that is a warning of the logger `easel`.
        """
        job = await self.submit(
            prompt,
            references=references,
            styles=styles,
            moodboards=moodboards,
            image=image,
            model=model,
            **wishes,
        )
        try:
            return await self.wait(job, on_progress, on_wait)
        except asyncio.CancelledError:
            await self.jobs.cancel(job.job_id)
            raise

    async def submit(
        self,
        prompt: str,
        *,
        references: Sequence[Reference] = (),
        styles: Sequence[TrainedStyle] = (),
        moodboards: Sequence[Board] = (),
        image: Source | None = None,
        model: Variant = "medium",
        webhook_url: str | None = None,
        **wishes: Unpack[Wishes],
    ) -> Job:
        """Ask for a picture without waiting for it. Files among the pictures are uploaded first.

        Interrupted, it leaves no job; one whose answer a broken connection has lost is asked for once more.
        """
        prepared = [await self._style_reference(reference) for reference in references]
        start = await self.address(image) if image else None
        call = calls.submit(prompt, prepared, styles, moodboards, start, model, webhook_url, wishes)
        try:
            return await self.ask(call)
        except asyncio.CancelledError:
            await self.jobs.cancel((await self.send(call)).job_id)
            raise

    async def wait(
        self,
        job: Job,
        on_progress: Callable[[Progress], None] | None = None,
        on_wait: Callable[[str], None] = calls.warn_of_wait,
    ) -> Picture:
        """The picture of `job` once it is painted; raises the `JobError` that says why there is none."""
        job = await self.jobs.ended(job.job_id, on_progress, on_wait)
        url = calls.picture_url(job)
        return Picture(job, url, await self.send(calls.download(url)))

    async def ask(self, call: Call[Answer]) -> Answer:
        """Send `call`, and once more if a broken connection has lost the answer: it has a key of its own."""
        with contextlib.suppress(Unreachable):
            return await self.send(call)
        return await self.send(call)

    async def send(self, call: Call[Answer]) -> Answer:
        """Send `call` and read its answer."""
        try:
            response = await self.http.request(call.method, call.path, **call.options)
        except httpx.TransportError as error:
            raise calls.unreachable(self.server.url, error) from error
        calls.check(response)
        return call.read(response)

    async def _style_reference(self, reference: Reference) -> dict[str, Any]:
        source, strength = calls.split(reference)
        return calls.style_reference(await self.address(source), strength)

    async def address(self, source: Source) -> str:
        """Where the server finds a picture; a file of yours is uploaded."""
        return str(source) if calls.is_address(source) else (await self.assets.upload(source)).image_url


class AsyncJobs:
    """The pictures that were asked for."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, job_id: UUID) -> Job:
        """One job, as it stands."""
        return await self._client.send(calls.get_job(job_id))

    async def list(
        self, *, limit: int = 100, cursor: str | None = None, status: Status | None = None
    ) -> Page[Job]:
        """Jobs, newest first; `cursor` is the `next_cursor` of the page before."""
        return await self._client.send(calls.list_jobs(limit, cursor, status))

    async def cancel(self, job_id: UUID) -> None:
        """Stop a job. One that has ended stays as it is."""
        await self._client.send(calls.cancel_job(job_id))

    async def details(self, job_id: UUID) -> JobDetails:
        """Seed, expanded prompt, cost and timings: what easel tells beyond the contract."""
        return await self._client.send(calls.get_details(job_id))

    async def ended(
        self,
        job_id: UUID,
        on_progress: Callable[[Progress], None] | None = None,
        on_wait: Callable[[str], None] = calls.warn_of_wait,
    ) -> Job:
        """The job once it has ended, however it did."""
        async for news in self.follow(job_id):
            match news:
                case Job():
                    return news
                case Waiting():
                    on_wait(news.because)
                case Progress() if on_progress:
                    on_progress(news)
        raise AssertionError("the stream of a job ends with the job")

    async def follow(self, job_id: UUID) -> AsyncIterator[Progress | Waiting | Job]:
        """Why a job waits, if no worker begins it; each step of its painting as it happens; then the job that
        has ended.

        Where the server does not stream, or the stream breaks, it is asked every two seconds.
        """
        reader, patience = EventReader(), calls.PATIENCE
        while True:
            async for news in self._stream(job_id, reader):
                yield news
                if isinstance(news, Job):
                    return
            try:
                job, patience = await self.get(job_id), calls.PATIENCE
            except (Unreachable, Unavailable, TooManyRequests):
                patience -= 1
                if not patience:
                    raise
            else:
                if job.status in TERMINAL:
                    yield job
                    return
            await asyncio.sleep(calls.PAUSE)

    async def _stream(self, job_id: UUID, reader: EventReader) -> AsyncIterator[Progress | Waiting | Job]:
        reader.begin()
        with contextlib.suppress(httpx.TransportError):
            async with self._client.http.stream(**calls.events(job_id, reader.last_id)) as response:
                if response.is_success:
                    async for line in response.aiter_lines():
                        if event := reader.feed(line):
                            yield calls.read_event(event)


class AsyncAssets:
    """Uploaded pictures."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def upload(self, file: str | Path, description: str | None = None) -> Asset:
        """Upload a picture, to use its `image_url` as a reference."""
        path = Path(file)
        return await self._client.send(calls.upload(path.name, path.read_bytes(), description))

    async def get(self, asset_id: UUID) -> Asset:
        """One uploaded picture."""
        return await self._client.send(calls.get_asset(asset_id))

    async def list(self, *, limit: int = 100, cursor: str | None = None) -> Page[Asset]:
        """Uploaded pictures, newest first; `cursor` is the `next_cursor` of the page before."""
        return await self._client.send(calls.list_assets(limit, cursor))

    async def delete(self, asset_id: UUID) -> None:
        """Forget an uploaded picture and its file."""
        await self._client.send(calls.delete_asset(asset_id))


class AsyncMoodboards:
    """Pictures that are read as one direction."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def create(self, name: str, pictures: Sequence[Source]) -> Moodboard:
        """Make a moodboard; files among `pictures` are uploaded first. The job `job_id` analyses it.

        One whose answer a broken connection has lost is asked for once more.
        """
        urls = [await self._client.address(picture) for picture in pictures]
        return await self._client.ask(calls.create_moodboard(name, urls))

    async def get(self, moodboard_id: UUID) -> Moodboard:
        """One moodboard, with what its analysis found."""
        return await self._client.send(calls.get_moodboard(moodboard_id))

    async def list(self, *, limit: int = 100, cursor: str | None = None) -> Page[Moodboard]:
        """Moodboards, newest first; `cursor` is the `next_cursor` of the page before."""
        return await self._client.send(calls.list_moodboards(limit, cursor))

    async def update(
        self, moodboard_id: UUID, *, pictures: Sequence[Source] | None = None, **changes: Unpack[Changes]
    ) -> Moodboard:
        """Change words or name; `pictures` replace all that it has, and are analysed."""
        urls = None if pictures is None else [await self._client.address(picture) for picture in pictures]
        return await self._client.send(calls.update_moodboard(moodboard_id, urls, changes))

    async def delete(self, moodboard_id: UUID) -> None:
        """Forget a moodboard; assets among its pictures stay."""
        await self._client.send(calls.delete_moodboard(moodboard_id))


class AsyncStyles:
    """Looks that were trained from pictures, or imported."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def train(
        self,
        name: str,
        pictures: Sequence[Source],
        *,
        webhook_url: str | None = None,
        **training: Unpack[Training],
    ) -> Job:
        """Begin a training; files among `pictures` are uploaded first. See `trained` for its end.

        One whose answer a broken connection has lost is asked for once more.
        """
        urls = [await self._client.address(picture) for picture in pictures]
        return await self._client.ask(calls.train_style(name, urls, webhook_url, training))

    async def trained(
        self,
        job: Job,
        on_progress: Callable[[Progress], None] | None = None,
        on_wait: Callable[[str], None] = calls.warn_of_wait,
    ) -> Style:
        """The style of `job` once it is trained; raises the `JobError` that says why there is none."""
        return await self.get(calls.style_id(await self._client.jobs.ended(job.job_id, on_progress, on_wait)))

    async def get(self, style_id: str) -> Style:
        """One style."""
        return await self._client.send(calls.get_style(style_id))

    async def list(
        self, *, limit: int = 100, cursor: str | None = None, **search: Unpack[Search]
    ) -> Page[Style]:
        """Styles, newest first; `cursor` is the `next_cursor` of the page before."""
        return await self._client.send(calls.list_styles(limit, cursor, search))

    async def update(self, style_id: str, **changes: Unpack[StyleWishes]) -> Style:
        """Change what is shown of a style, and whether it is public."""
        return await self._client.send(calls.update_style(style_id, changes))

    async def delete(self, style_id: str) -> None:
        """Forget a style and its adapter."""
        await self._client.send(calls.delete_style(style_id))

    async def share_link(self, style_id: str) -> ShareLink:
        """The link by which anybody can see a style."""
        return await self._client.send(calls.link_style(style_id))

    async def share(self, style_id: str, workspace_id: UUID | None = None) -> Shared:
        """Share a style with another workspace of the server."""
        return await self._client.send(calls.share_style(style_id, workspace_id, shares=True))

    async def unshare(self, style_id: str, workspace_id: UUID | None = None) -> Shared:
        """Share a style with a workspace no longer; without one, with none."""
        return await self._client.send(calls.share_style(style_id, workspace_id, shares=False))
