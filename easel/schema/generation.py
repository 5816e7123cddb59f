"""The request for a picture: the API's body, the job row's JSON and the SDK's argument are this one value."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, Strict
from pydantic_core import PydanticCustomError

from easel.catalog import SIZES
from easel.schema.numbers import Whole, whole
from easel.schema.styles import StyleUse
from easel.schema.texts import SAYS_SOMETHING, Text

AspectRatio = Literal["1:1", "4:3", "3:2", "16:9", "2.35:1", "4:5", "3:4", "2:3", "9:16"]
Creativity = Literal["raw", "low", "medium", "high"]

DENOISED = 0.99
"""How far a start picture is repainted where the request does not say."""
MOST_STYLES = 10
"""Of one picture."""


def _prompt(value: Any) -> Any:
    if isinstance(value, str) and value and not value.strip():
        raise PydanticCustomError("blank_prompt", "must say what to paint, not only white space")
    return value


def _some(value: Any) -> Any:
    return [] if value is None else value


def _url(value: Any) -> Any:
    return None if value == "" else value


def _strength(value: Any) -> Any:
    return DENOISED if value is None else value


def _neutral(value: Any) -> Any:
    return 0 if value is None else whole(value)


Instrument = Annotated[int, Strict(), Field(ge=-100, le=100), BeforeValidator(_neutral)]


class StyleReference(BaseModel):
    """An image whose look is transferred to the picture."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    url: Text = Field(min_length=1)
    """An asset's URL, a public http(s) URL, or a base64 data URI of an image."""
    strength: Annotated[float, Strict()] = Field(0.5, ge=-2, le=2, allow_inf_nan=False)
    """How strongly it acts; 0 is not at all, below 0 pushes away."""


class MoodboardReference(BaseModel):
    """A moodboard whose direction the picture takes."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: UUID
    """The moodboard's id; without an analysis, it is analysed before the picture is painted."""
    strength: Annotated[float, Strict()] = Field(0.35, ge=-0.5, le=1.5, allow_inf_nan=False)
    """How strongly it acts; 0 is not at all, below 0 pushes away."""


class GenerationRequest(BaseModel):
    """All that decides a picture, except the model, which is the route."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    prompt: Annotated[Text, BeforeValidator(_prompt)] = Field(
        min_length=1, max_length=5000, json_schema_extra={"pattern": SAYS_SOMETHING}
    )
    """What to paint."""
    aspect_ratio: AspectRatio = Field("1:1", validation_alias=AliasChoices("aspect_ratio", "aspectRatio"))
    """Width to height."""
    resolution: Literal["1K"] = "1K"
    """The size class of the picture."""
    seed: Whole | None = Field(None, ge=0, le=2**63 - 1)
    """For the same picture again; null or absent means random."""
    creativity: Creativity = "medium"
    """How far the prompt is expanded before painting; raw leaves it as it is."""
    intensity: Instrument = 0
    """How strong colours and marks are: below 0 paler and calmer."""
    complexity: Instrument = 0
    """How much there is to see: below 0 less of it, and more empty space."""
    movement: Instrument = 0
    """How much the scene moves: below 0 it is level and still."""
    image_style_references: list[StyleReference] = Field(
        default=[],
        max_length=10,
        validation_alias=AliasChoices("image_style_references", "imageStyleRefs"),
    )
    """Images whose look is transferred to the picture."""
    styles: Annotated[list[StyleUse], BeforeValidator(_some)] = Field(
        default=[], max_length=MOST_STYLES, validation_alias=AliasChoices("styles", "presetStyles")
    )
    """Trained styles that the picture is painted in."""
    moodboards: Annotated[list[MoodboardReference], BeforeValidator(_some)] = Field(default=[], max_length=1)
    """The moodboard whose direction the picture takes; one at most."""
    image_url: Annotated[Text | None, BeforeValidator(_url)] = Field(
        None, validation_alias=AliasChoices("image_url", "imageUrl")
    )
    """The picture to start from: an asset's URL, a public http(s) URL, or a base64 data URI of an image."""
    strength: Annotated[float, Strict(), BeforeValidator(_strength)] = Field(
        DENOISED, ge=0, le=1, allow_inf_nan=False
    )
    """How much of the start picture is painted anew: 0 keeps it, 1 keeps nothing; without one, no effect."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture in pixels."""
        return SIZES[self.aspect_ratio]
