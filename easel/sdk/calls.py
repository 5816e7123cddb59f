"""Every call of the API, said once: what is sent, and how its answer is read."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypedDict, TypeVar
from uuid import UUID, uuid4

import httpx
from pydantic import BaseModel

from easel import errors
from easel.schema.assets import Asset
from easel.schema.generation import AspectRatio, Creativity
from easel.schema.jobs import TERMINAL, Job, JobDetails, Progress, Result, Status, Waiting
from easel.schema.moodboards import Moodboard, ShareLink
from easel.schema.pages import Page
from easel.schema.styles import Filter, Kind, Shared, Style, TrainedModel
from easel.sdk.events import Event

Answer = TypeVar("Answer")
Model = TypeVar("Model", bound=BaseModel)

Variant = Literal["medium", "medium-turbo", "large"]
Source = str | Path  # a picture: a file of yours, or an address (http, https or data)
Reference = Source | tuple[Source, float]  # alone, or with its strength
Board = UUID | tuple[UUID, float]  # a moodboard's id, alone or with its strength
TrainedStyle = str | tuple[str, float]  # a style's id, alone or with its strength

TIMEOUT = 30.0  # seconds for an answer; also for the next line of a stream, which the server keeps alive
PAUSE = 2.0  # seconds between two questions after a job whose server does not stream
PATIENCE = 10  # questions in a row that a server may leave unanswered while it restarts

log = logging.getLogger("easel")

_HTTP_ERRORS = {error.status: error for error in errors.HTTPError.__subclasses__()}
_JOB_ERRORS = {error.code: error for error in errors.JobError.__subclasses__()}


class Wishes(TypedDict, total=False):
    """What may be asked beside prompt and references; what is absent is the server's choice."""

    aspect_ratio: AspectRatio
    creativity: Creativity
    seed: int | None
    intensity: int
    complexity: int
    movement: int
    strength: float  # of the painting over the start picture


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """One request, and how its answer is read."""

    method: str
    path: str  # or a whole URL
    read: Callable[[httpx.Response], Answer]
    options: dict[str, Any] = field(default_factory=dict)  # as httpx's `request` takes them


class Changes(TypedDict, total=False):
    """What may become of a moodboard; None gives a text back to the analysis."""

    name: str
    taste_profile: str | None
    keywords: Sequence[str] | None
    avoids: Sequence[str] | None


class Training(TypedDict, total=False):
    """What may be asked of a training beside name and pictures; what is absent is the server's choice."""

    model: TrainedModel
    type: Kind
    trigger_word: str
    learning_rate: float
    max_train_steps: int
    batch_size: int


class StyleWishes(TypedDict, total=False):
    """What may become of a style."""

    public: bool
    title: str
    urls: Sequence[str]
    cover_url: str


class Search(TypedDict, total=False):
    """Which styles are listed: all that you see, unless this says otherwise."""

    ids: Sequence[str]
    user: str
    model: TrainedModel
    filter: Filter


def submit(
    prompt: str,
    references: Sequence[dict[str, Any]],
    styles: Sequence[TrainedStyle],
    moodboards: Sequence[Board],
    image_url: str | None,
    model: Variant,
    webhook_url: str | None,
    wishes: Wishes,
) -> Call[Job]:
    body = {"prompt": prompt, **wishes}
    if references:
        body["image_style_references"] = references
    if styles:
        body["styles"] = [_by_id(style) for style in styles]
    if moodboards:
        body["moodboards"] = [_by_id(board) for board in moodboards]
    if image_url:
        body["image_url"] = image_url
    return Call("POST", f"/generate/image/krea/krea-2/{model}", _as(Job), _asking(body, webhook_url))


def get_job(job_id: UUID) -> Call[Job]:
    return Call("GET", f"/jobs/{job_id}", _as(Job))


def list_jobs(limit: int, cursor: str | None, status: Status | None) -> Call[Page[Job]]:
    return Call("GET", "/jobs", _as(Page[Job]), _params(limit=limit, cursor=cursor, status=status))


def cancel_job(job_id: UUID) -> Call[None]:
    return Call("DELETE", f"/jobs/{job_id}", _nothing)


def get_details(job_id: UUID) -> Call[JobDetails]:
    return Call("GET", f"/jobs/{job_id}/details", _as(JobDetails))


def upload(name: str, content: bytes, description: str | None) -> Call[Asset]:
    form = {"description": description} if description else {}
    return Call("POST", "/assets", _as(Asset), {"files": {"file": (name, content)}, "data": form})


def get_asset(asset_id: UUID) -> Call[Asset]:
    return Call("GET", f"/assets/{asset_id}", _as(Asset))


def list_assets(limit: int, cursor: str | None) -> Call[Page[Asset]]:
    return Call("GET", "/assets", _as(Page[Asset]), _params(limit=limit, cursor=cursor))


def delete_asset(asset_id: UUID) -> Call[None]:
    return Call("DELETE", f"/assets/{asset_id}", _nothing)


def create_moodboard(name: str, urls: Sequence[str]) -> Call[Moodboard]:
    return Call("POST", "/moodboards", _as(Moodboard), _asking({"name": name, "urls": urls}))


def get_moodboard(moodboard_id: UUID) -> Call[Moodboard]:
    return Call("GET", f"/moodboards/{moodboard_id}", _as(Moodboard))


def list_moodboards(limit: int, cursor: str | None) -> Call[Page[Moodboard]]:
    return Call("GET", "/moodboards", _as(Page[Moodboard]), _params(limit=limit, cursor=cursor))


def update_moodboard(moodboard_id: UUID, urls: Sequence[str] | None, changes: Changes) -> Call[Moodboard]:
    body = {**changes, **({} if urls is None else {"urls": urls})}
    return Call("PATCH", f"/moodboards/{moodboard_id}", _as(Moodboard), {"json": body})


def delete_moodboard(moodboard_id: UUID) -> Call[None]:
    return Call("DELETE", f"/moodboards/{moodboard_id}", _nothing)


def train_style(name: str, urls: Sequence[str], webhook_url: str | None, training: Training) -> Call[Job]:
    body = {"name": name, "urls": urls, **training}
    return Call("POST", "/styles/train", _as(Job), _asking(body, webhook_url))


def get_style(style_id: str) -> Call[Style]:
    return Call("GET", f"/styles/{style_id}", _as(Style))


def list_styles(limit: int, cursor: str | None, search: Search) -> Call[Page[Style]]:
    ids = {"ids": ",".join(search["ids"])} if "ids" in search else {}
    return Call("GET", "/styles", _as(Page[Style]), _params(limit=limit, cursor=cursor, **{**search, **ids}))


def update_style(style_id: str, changes: StyleWishes) -> Call[Style]:
    return Call("PATCH", f"/styles/{style_id}", _as(Style), {"json": changes})


def delete_style(style_id: str) -> Call[None]:
    return Call("DELETE", f"/styles/{style_id}", _nothing)


def link_style(style_id: str) -> Call[ShareLink]:
    return Call("GET", f"/styles/{style_id}/share/link", _as(ShareLink))


def share_style(style_id: str, workspace_id: UUID | None, *, shares: bool) -> Call[Shared]:
    body = {"workspace_id": str(workspace_id)} if workspace_id else {}
    method = "POST" if shares else "DELETE"
    return Call(method, f"/styles/{style_id}/share/workspace", _as(Shared), {"json": body})


def download(url: str) -> Call[bytes]:
    # Pictures are public, and may lie on another host: the token stays at home.
    return Call("GET", url, lambda answer: answer.content, {"auth": None})


def split(reference: Reference) -> tuple[Source, float | None]:
    """A reference's picture and its strength, which is the server's choice where none is given."""
    return reference if isinstance(reference, tuple) else (reference, None)


def is_address(source: Source) -> bool:
    """Whether `source` is an address that the server fetches itself, rather than a file of ours."""
    return str(source).startswith(("http://", "https://", "data:"))


def style_reference(url: str, strength: float | None) -> dict[str, Any]:
    """One item of `image_style_references`."""
    return {"url": url} if strength is None else {"url": url, "strength": strength}


def _by_id(one: Board | TrainedStyle) -> dict[str, Any]:
    """One item of `moodboards` or `styles`."""
    if isinstance(one, tuple):
        return {"id": str(one[0]), "strength": one[1]}
    return {"id": str(one)}


def events(job_id: UUID, last_id: str) -> dict[str, Any]:
    """The stream of a job's progress, for httpx's `stream`; `last_id` is the last event that was seen."""
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
    return {"method": "GET", "url": f"/jobs/{job_id}/events", "headers": headers}


def read_event(event: Event) -> Progress | Waiting | Job:
    """What an event tells: a step, why there is none, or the job that has ended."""
    match event.name:
        case "progress":
            return Progress.model_validate_json(event.data)
        case "waiting":
            return Waiting.model_validate_json(event.data)
        case _:
            return Job.model_validate_json(event.data)


def warn_of_wait(because: str) -> None:
    """Say why a job waits where nobody else does."""
    log.warning("The job waits: %s", because)


def check(response: httpx.Response) -> None:
    """Raise the error that the server answered, if it did."""
    if response.is_success:
        return
    try:
        body = response.json()
    except ValueError:
        body = {}
    message = (
        body.get("message") or body.get("error") or f"HTTP {response.status_code}: {response.text[:200]}"
    )
    raise _HTTP_ERRORS.get(response.status_code, errors.HTTPError)(message, body.get("details"))


def picture_url(job: Job) -> str:
    """Where the picture of a job that has ended is, or raise why there is none."""
    return made(job).urls[0]


def style_id(job: Job) -> str:
    """The style that a training made, or raise why there is none."""
    found = made(job).style_id
    assert found, job
    return found


def made(job: Job) -> Result:
    """What a job that has ended made, or raise why it made nothing."""
    assert job.status in TERMINAL, job.status
    if job.status == "cancelled":
        raise errors.Cancelled("The job was cancelled.")
    if job.error:
        raise _JOB_ERRORS.get(job.error.code, errors.JobError)(f"{job.error.code}: {job.error.message}")
    assert job.result, job
    return job.result


def unreachable(url: str, error: httpx.TransportError) -> errors.Unreachable:
    return errors.Unreachable(
        f"{url} does not answer ({str(error) or type(error).__name__}): is it running there?"
    )


def _asking(body: dict[str, Any], webhook_url: str | None = None) -> dict[str, Any]:
    """The key is the call's own: sent again, it asks for the same job or moodboard."""
    headers = {"Idempotency-Key": str(uuid4())} | ({"X-Webhook-URL": webhook_url} if webhook_url else {})
    return {"json": body, "headers": headers}


def _params(**params: Any) -> dict[str, Any]:
    return {"params": {name: value for name, value in params.items() if value is not None}}


def _as(model: type[Model]) -> Callable[[httpx.Response], Model]:
    return lambda answer: model.model_validate_json(answer.content)


def _nothing(answer: httpx.Response) -> None:
    return None
