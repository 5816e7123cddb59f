"""Styles: LoRA adapters, learnt from pictures or imported from a file."""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints

from easel.catalog import Weights
from easel.schema.numbers import Whole
from easel.schema.texts import Said, Text
from easel.schema.times import Time

FEWEST_PICTURES, MOST_PICTURES = 3, 2000
STEPS = 160  # of a training that asks for no number
BATCH = 4
RATE = 1e-3
ON_KREA = {"max_train_steps": 1000, "batch_size": 1, "learning_rate": 3e-4}
"""The same three where Krea's open weights are trained."""

TrainedModel = Literal["k2", "k2-large"]
Kind = Literal["Style", "Object", "Character"]
Filter = Literal["all", "user", "community", "krea", "shared", "unapproved", "editor", "gallery", "public"]

WEIGHTS: dict[TrainedModel, Weights] = {"k2": "turbo", "k2-large": "raw"}
"""What a style is trained on, and works with: k2 with medium and medium-turbo, k2-large with large."""

Name = Annotated[Said, Field(min_length=1, max_length=200)]
Address = Annotated[Text, StringConstraints(pattern=r"^https?://", max_length=2000)]


class Recipe(BaseModel):
    """How a style is trained."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    model: TrainedModel = "k2"
    """The weights it is for: k2 paints with medium and medium-turbo, k2-large with large."""
    type: Kind = "Style"
    """What the pictures have in common. Nano learns their look in any case, not the things in them."""
    name: Name
    """What the style is called."""
    trigger_word: Annotated[Text, Field(max_length=100)] = ""
    """A word that stands for the style in captions and prompts; it joins every prompt that uses the style."""
    learning_rate: Annotated[float, Strict()] = Field(RATE, gt=0, le=0.1, allow_inf_nan=False)
    """How far a step goes; 0.0003 with Krea's weights, unless said."""
    max_train_steps: Whole = Field(STEPS, ge=1, le=2000)
    """How many steps are taken; 1,000 with Krea's weights, unless said."""
    batch_size: Whole = Field(BATCH, ge=1, le=32)
    """How many crops a step sees; with Krea's weights pictures, and 1 unless said."""


class TrainingRequest(Recipe):
    """A style to be trained."""

    urls: Annotated[
        list[Annotated[Text, Field(min_length=1)]],
        Field(min_length=FEWEST_PICTURES, max_length=MOST_PICTURES),
    ]
    """3 to 2,000 pictures: assets' URLs, public http(s) URLs or base64 data URIs."""

    def on_krea(self) -> "TrainingRequest":
        """The same for Krea's open weights: what was not said is as suits them."""
        return self.model_copy(
            update={name: v for name, v in ON_KREA.items() if name not in self.model_fields_set}
        )


class StyleChanges(BaseModel):
    """What becomes of a style; what is absent stays as it is."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    public: Annotated[bool, Strict()] | None = None
    """Whether every workspace sees it and may paint with it."""
    urls: Annotated[list[Address], Field(max_length=20)] | None = None
    """Pictures that show what it looks like."""
    title: Name | None = None
    """What it is called."""
    cover_url: Address | None = None
    """The picture that stands for it."""


class Owner(BaseModel):
    """The workspace that a style belongs to."""

    id: UUID
    name: str
    avatar_url: str | None = None


class Style(BaseModel):
    """A style."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    title: str
    urls: list[str]
    """Pictures that show what it looks like; at first some of those it was trained on."""
    public: bool
    cover_url: str | None
    prompt: str
    """Its trigger word."""
    models: list[TrainedModel]
    """What it works with: k2 is medium and medium-turbo, k2-large is large."""
    owner: Owner | None
    like_count: int = 0
    created_at: Time


class ShareTarget(BaseModel):
    """Whom a style is shared with: another workspace of this server, or, without an id, one's own."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    workspace_id: UUID | None = None
    """The workspace; `owner.id` of its styles."""


class Workspace(BaseModel):
    """A workspace that a style is shared with."""

    id: UUID
    name: str
    is_default: bool


class Shared(BaseModel):
    """That a style is shared with a workspace, or is no longer."""

    success: bool
    style_id: str
    workspace: Workspace


class StyleUse(BaseModel):
    """A trained style that a picture is painted in."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: Annotated[Text, Field(min_length=1, max_length=100)]
    """The style's id."""
    strength: Annotated[float, Strict()] = Field(1.0, ge=-2, le=2, allow_inf_nan=False)
    """How strongly it acts; 0 is not at all, below 0 pushes away."""
