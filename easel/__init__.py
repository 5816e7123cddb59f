"""Krea 2 on your own machines: the API, its models, and the client to use them with."""

from easel.errors import EaselError, HTTPError, JobError, Unreachable
from easel.schema.assets import Asset
from easel.schema.jobs import Job, JobDetails, Progress, Waiting
from easel.schema.moodboards import Moodboard
from easel.schema.pages import Page
from easel.sdk.async_client import AsyncClient
from easel.sdk.client import Client
from easel.sdk.pictures import Picture

__version__ = "0.1.0"

__all__ = [
    "Asset",
    "AsyncClient",
    "Client",
    "EaselError",
    "HTTPError",
    "Job",
    "JobDetails",
    "JobError",
    "Moodboard",
    "Page",
    "Picture",
    "Progress",
    "Unreachable",
    "Waiting",
    "__version__",
]
