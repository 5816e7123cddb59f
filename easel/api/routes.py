"""The table of contents: every URL, who answers it, with what, and with which refusals of its own."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from easel.api import (
    assets,
    events,
    files,
    generations,
    health,
    jobs,
    moodboards,
    openapi,
    styles,
    usage,
    webhooks,
)
from easel.catalog import MODELS
from easel.schema.accounts import Usage
from easel.schema.assets import Asset
from easel.schema.jobs import Job, JobDetails
from easel.schema.moodboards import Moodboard, MoodboardChanges, NewMoodboard, SharedMoodboard, ShareLink
from easel.schema.pages import Page
from easel.schema.styles import Shared, ShareTarget, Style, StyleChanges, TrainingRequest
from easel.schema.webhooks import Delivery


class Route(NamedTuple):
    """One row."""

    tag: str
    method: str
    path: str
    handler: Callable[..., Awaitable[Any]]
    answer: Any = None
    refusals: tuple[int, ...] = ()
    more: Mapping[str, Any] | None = None  # for the OpenAPI document


# fmt: off
PRIVATE = [
    *(
        Route("Image", "POST", f"/generate/image/krea/krea-2/{model.variant}",
              generations.submit_to(model), Job, (400, 402, 413, 422), openapi.generation(model))
        for model in MODELS.values()
    ),
    Route("General", "GET",    "/jobs",              jobs.index,    Page[Job],      (400,)),
    Route("General", "GET",    "/jobs/{id}",         jobs.show,     Job,            (404,)),
    Route("General", "DELETE", "/jobs/{id}",         jobs.cancel,   Job,            (404,)),
    Route("General", "GET",    "/jobs/{id}/details", jobs.details,  JobDetails,     (404,)),
    Route("General", "GET",    "/jobs/{id}/events",  events.follow, None,         (400, 404), openapi.EVENTS),
    Route("Assets",  "POST",   "/assets",            assets.upload, Asset,          (400,), openapi.UPLOAD),
    Route("Assets",  "GET",    "/assets",            assets.index,  Page[Asset],    (400,)),
    Route("Assets",  "GET",    "/assets/{id}",       assets.show,   Asset,          (404,)),
    Route("Assets",  "DELETE", "/assets/{id}",       assets.delete, assets.Deleted, (404,)),
    Route("Styles", "POST",   "/styles/train",                styles.train,      Job,
          (400, 413, 422), openapi.body(TrainingRequest)),
    Route("Styles", "GET",    "/styles",                      styles.index,      Page[Style],    (400,)),
    Route("Styles", "GET",    "/styles/{id}",                 styles.show,       Style,          (404,)),
    Route("Styles", "PATCH",  "/styles/{id}",                 styles.change,     Style,
          (400, 403, 404, 413, 422), openapi.body(StyleChanges)),
    Route("Styles", "DELETE", "/styles/{id}",                 styles.delete,     assets.Deleted, (403, 404)),
    Route("Styles", "GET",    "/styles/{id}/share/link",      styles.share,      ShareLink,      (403, 404),
          openapi.NEW_LINK),
    Route("Styles", "POST",   "/styles/{id}/share/workspace", styles.share_with, Shared,
          (400, 403, 404, 413), openapi.body(ShareTarget, required=False)),
    Route("Styles", "DELETE", "/styles/{id}/share/workspace", styles.unshare,    Shared,
          (400, 403, 404, 413), openapi.body(ShareTarget, required=False)),
    Route("Moodboards", "POST",   "/moodboards",                 moodboards.create, Moodboard,
          (400, 404, 413, 422), openapi.body(NewMoodboard)),
    Route("Moodboards", "GET",    "/moodboards",                 moodboards.index,  Page[Moodboard], (400,)),
    Route("Moodboards", "GET",    "/moodboards/{id}",            moodboards.show,   Moodboard,       (404,)),
    Route("Moodboards", "PATCH",  "/moodboards/{id}",            moodboards.change, Moodboard,
          (400, 404, 413, 422), openapi.body(MoodboardChanges)),
    Route("Moodboards", "DELETE", "/moodboards/{id}",            moodboards.delete, assets.Deleted,  (404,)),
    Route("Moodboards", "GET",    "/moodboards/{id}/share/link", moodboards.share,  ShareLink,       (404,)),
    Route("Account", "GET",    "/usage",             usage.show,    Usage,          (400,)),
    Route("Webhooks", "GET",  "/webhooks/deliveries",             webhooks.index,  Page[Delivery], (400,)),
    Route("Webhooks", "GET",  "/webhooks/deliveries/{id}",        webhooks.show,   Delivery,       (404,)),
    Route("Webhooks", "POST", "/webhooks/deliveries/{id}/resend", webhooks.resend, Delivery,       (404,)),
]

PUBLIC = [
    Route("Files",   "GET",    "/files/{key}",  files.download, None,          (404, 503), openapi.PICTURE),
    Route("Files",   "HEAD",   "/files/{key}",  files.download, None,          (404, 503)),
    Route("Moodboards", "GET", "/shared/moodboards/{key}", moodboards.shared, SharedMoodboard, (404,)),
    Route("Styles",     "GET", "/shared/styles/{key}",     styles.shared,     Style,           (404,)),
    Route("Health",  "GET",    "/openapi.json", openapi.show),
    Route("Health",  "GET",    "/healthz",      health.healthz, health.Health),
    Route("Health",  "GET",    "/readyz",       health.readyz,  health.Health, (503,)),
    Route("Health",  "GET",    "/metrics",      health.metrics, None,          (503,)),
]
# fmt: on
