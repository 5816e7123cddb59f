"""Ground: the settings, read from `EASEL_*` once, at the entry point, and passed on from there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from easel.catalog import RECIPES


@dataclass(frozen=True)
class Limits:
    """What a workspace may have going."""

    prepaid: bool = False  # no more than its balance pays for
    concurrency: int | None = None  # jobs that are queued or being painted
    backlog: int | None = None  # jobs that wait behind those


UNLIMITED = Limits()


@dataclass(frozen=True)
class KreaSources:
    """What Krea's open weights are read from: each a folder, a safetensors or GGUF file, or a name on the
    hub; and how they are computed."""

    turbo: str | None  # None: `medium` and `medium-turbo` are not painted
    raw: str | None  # None: `large` is not painted
    parts: str  # text encoder, tokenizer and autoencoder; no file
    style_lora: str | None = None  # a safetensors file
    compiles: bool = True  # on a GPU
    precision: Literal["auto", "bf16", "fp8", "nf4"] = "auto"


@dataclass(frozen=True)
class Chat:
    """A language model behind an OpenAI-compatible address."""

    url: str
    key: str | None
    model: str


class Settings(BaseSettings):
    """How one easel process is set up."""

    model_config = SettingsConfigDict(env_prefix="EASEL_", frozen=True)

    data: Path = Path("~/.local/share/easel").expanduser()
    """The folder of the embedded database, the pictures and the weights."""
    database_url: str | None = None
    """A PostgreSQL of yours; without it one is started inside `data`."""
    blobs_url: str | None = None
    """Where pictures are kept (file://, s3://, gs://, az://); without it, inside `data`."""
    host: str = "127.0.0.1"
    port: int = Field(8288, ge=0, le=65535)
    public_url: str | None = None
    """The base of the file URLs in answers; without it, the address that the client used."""
    allow_networks: list[str] = []
    """Private networks (CIDR) that reference and webhook URLs may reach."""
    billing: Literal["off", "prepaid"] = "off"
    """Whether a picture that the balance does not cover is refused; costs are recorded in either case."""
    concurrency: int | None = Field(None, ge=1)
    """How many jobs of a workspace may be queued or painted at once; further ones wait in its backlog."""
    backlog: int | None = Field(None, ge=0)
    """How many jobs may wait in a workspace's backlog; further ones are refused."""
    requests_per_minute: int | None = Field(None, ge=1)
    """How many requests of a token each API process answers in a minute; further ones are refused."""
    safety: Literal["on", "off"] = "on"
    """Whether prompts and pictures are filtered by what ships."""
    moderation_url: str | None = None
    """An OpenAI-compatible `/v1/moderations` that judges in place of the filter that ships."""
    moderation_key: str | None = Field(None, repr=False)
    """What is sent to it as the bearer token."""
    filtered_elsewhere: Annotated[str, StringConstraints(strip_whitespace=True)] = ""
    """What filters prompts and pictures where easel does not, in words: Krea's licence asks for a filter."""
    models: Literal["nano", "krea", "null"] = "nano"
    """Which painter works: the trained small model, Krea's open weights, or flat colours for tests."""
    checkpoint: Path | None = None
    """The checkpoint folder of the small model; without it, the one that ships with the package."""
    krea_turbo: str = "krea/Krea-2-Turbo"
    """What paints `medium` and `medium-turbo`: a folder, a safetensors or GGUF file, or a name on the hub;
    empty for none."""
    krea_raw: str = "krea/Krea-2-Raw"
    """What paints `large`, likewise."""
    krea_parts: str = ""
    """The folder or name with text encoder, tokenizer and autoencoder; without it, that of `krea_turbo`, or
    else of `krea_raw`."""
    expander_url: str | None = None
    """An OpenAI-compatible `/v1` that expands prompts for `krea`; without it, the text encoder does."""
    expander_key: str | None = Field(None, repr=False)
    """What is sent to it as the bearer token."""
    expander_model: str = ""
    """What the language model is called there."""
    job_timeout: float = Field(180, gt=0)
    """Seconds after which a job that is being painted fails with `timeout`."""
    null_step_seconds: float = Field(0, ge=0)
    """How long the null painter takes for each step."""
    supervisor: int | None = None
    """Set by `easel serve` for the processes it starts: its process id, so that they end when it ends."""
    listening_socket: int | None = None
    """Set by `easel serve` for its API process: the file descriptor to answer on."""

    krea_style_lora: str = ""
    """A LoRA for Krea-2-Turbo that reads style references in context; without it, attention is shared."""
    precision: Literal["auto", "bf16", "fp8", "nf4"] = "auto"
    """What the matrices of Krea's transformers are kept in; `auto` takes eight bits where more do not fit."""
    compile: Literal["on", "off"] = "on"
    """Whether blocks are compiled on a GPU: pictures are faster, and the first start takes a minute more."""

    device: str = Field("", pattern=r"^((cpu|cuda(:\d+)?)(,(cpu|cuda(:\d+)?))*)?$")
    """Where Krea's open weights paint: `cuda:1` is the second GPU, `cuda:0,cuda:1` are two that paint each
    picture together; without it, the first, if there is one."""
    variants: str = ""
    """What a worker paints, with commas between: `medium,large`; without it, all that it has weights for."""

    @field_validator("variants")
    @classmethod
    def _weighed(cls, variants: str, info: ValidationInfo) -> str:
        for variant in variants.split(",") if variants else ():
            if variant not in RECIPES:
                raise ValueError(f"{variant!r} is none of {', '.join(RECIPES)}")
            source = f"krea_{RECIPES[variant].weights}"
            if info.data.get("models") == "krea" and not info.data.get(source):
                raise ValueError(
                    f"{variant!r} is painted with what EASEL_{source.upper()} names: it is empty"
                )
        return variants

    @property
    def painted(self) -> tuple[str, ...]:
        """The variants that a worker paints."""
        if self.variants:
            return tuple(self.variants.split(","))
        there = {"turbo": self.krea_turbo, "raw": self.krea_raw}
        return tuple(
            variant for variant, recipe in RECIPES.items() if self.models != "krea" or there[recipe.weights]
        )

    @property
    def is_unfiltered(self) -> bool:
        """Whether nothing here judges prompts and pictures."""
        return self.safety == "off" and not self.moderation_url

    @property
    def limits(self) -> Limits:
        """What each workspace may have going."""
        return Limits(self.billing == "prepaid", self.concurrency, self.backlog)

    @property
    def trains(self) -> bool:
        """Whether a worker trains styles: with Krea's weights that takes Raw."""
        return self.models != "krea" or "large" in self.painted

    @property
    def krea(self) -> KreaSources:
        """Where those of Krea's open weights are that paint here."""
        needed = {RECIPES[variant].weights for variant in self.painted}
        return KreaSources(
            turbo=(self.krea_turbo or None) if "turbo" in needed else None,
            raw=(self.krea_raw or None) if "raw" in needed else None,
            parts=self.krea_parts or self.krea_turbo or self.krea_raw,
            style_lora=(self.krea_style_lora or None) if "turbo" in needed else None,
            compiles=self.compile == "on",
            precision=self.precision,
        )

    @property
    def expander(self) -> Chat | None:
        """Who expands prompts in place of the text encoder."""
        url = self.expander_url
        return Chat(url, self.expander_key, self.expander_model) if url else None

    def environment(self) -> dict[str, str]:
        """The same settings as environment variables, for a child process."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {
            f"EASEL_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
            for name, value in values.items()
        }
