"""Moodboards: pictures that are read as one direction."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from easel.schema.texts import Said, Text
from easel.schema.times import Time

MOST_PICTURES = 200

Name = Annotated[Said, Field(min_length=1, max_length=200)]
Profile = Annotated[Text, Field(max_length=5000)]
Words = Annotated[list[Annotated[Said, Field(min_length=1, max_length=100)]], Field(max_length=50)]
URLs = Annotated[list[Annotated[Text, Field(min_length=1)]], Field(max_length=MOST_PICTURES)]
AssetIds = Annotated[list[UUID], Field(max_length=MOST_PICTURES)]


SOME_PICTURES: JsonDict = {
    "anyOf": [
        {"required": [field], "properties": {field: {"minItems": 1}}} for field in ("urls", "asset_ids")
    ]
}


class NewMoodboard(BaseModel):
    """A moodboard to be made, of 1 to 200 pictures."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, json_schema_extra=SOME_PICTURES)

    name: Name
    """What it is called."""
    urls: URLs = []
    """Pictures: assets' URLs, public http(s) URLs or base64 data URIs."""
    asset_ids: AssetIds = []
    """Pictures that are assets, by their ids."""


class MoodboardChanges(BaseModel):
    """What becomes of a moodboard; what is absent stays as it is.

    `urls` and `asset_ids` together replace all pictures. Null gives a text back to the analysis.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    name: Name = ""
    """What it is called."""
    urls: URLs = []
    """All its pictures from now on: assets' URLs, public http(s) URLs or base64 data URIs."""
    asset_ids: AssetIds = []
    """Pictures among those that are assets, by their ids."""
    taste_profile: Profile | None = None
    """What its pictures have in common, in prose."""
    keywords: Words | None = None
    """What joins every prompt's expansion."""
    avoids: Words | None = None
    """What no prompt is expanded by."""


class Swatch(BaseModel):
    """A colour, and how much there is of it, of 1."""

    colour: str = Field(examples=["#f4a261"])
    weight: float


class Cluster(BaseModel):
    """Pictures that are much alike."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    direction: int
    """Which of the board's directions it belongs to, from 0; a picture is painted in one of them."""
    weight: float
    """How many of the board's pictures it has, of 1."""
    url: str
    """The picture in its middle, which acts as a reference."""


class SharedMoodboard(BaseModel):
    """A moodboard as whoever has its link sees it; without an analysis it has no words and colours."""

    name: str
    created_at: Time
    urls: list[str]
    analysed: bool
    taste_profile: str
    keywords: list[str]
    avoids: list[str]
    palette: list[Swatch]
    clusters: list[Cluster]


class Moodboard(SharedMoodboard):
    """A moodboard."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: UUID
    job_id: UUID
    """Its latest analysis: `GET /jobs/{id}` tells how it goes, and why it failed."""


class ShareLink(BaseModel):
    """Where anybody can see a moodboard."""

    share_link: str
    is_new: bool


def unusable(problems: Mapping[str, str], count: int) -> str:
    """A sentence that names the pictures, of `count`, that have problems, ten of them with theirs."""
    told = [f"{name}: {problem[:300]}" for name, problem in list(problems.items())[:10]]
    others = f"; and so are {', '.join(list(problems)[10:])}" if len(problems) > 10 else ""
    return f"{len(problems)} of {count} pictures cannot be used: {'; '.join(told)}{others}"
