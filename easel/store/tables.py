"""The tables: one class a table, constraints where rules must hold."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Numeric,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        datetime: DateTime(timezone=True),
        Decimal: Numeric(12, 6),
        dict[str, Any]: JSONB,
        list[str]: ARRAY(Text),
        list[UUID]: ARRAY(Uuid),
    }


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=func.now())


def _workspace() -> Mapped[UUID]:
    return mapped_column(ForeignKey("workspaces.id"))


class Workspace(Base):
    """Whom rows belong to."""

    __tablename__ = "workspaces"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    webhook_secrets: Mapped[list[str]]  # each signs; two during a rotation
    balance: Mapped[Decimal] = mapped_column(Numeric(18, 6), server_default="0")  # top-ups - charges
    created_at: Mapped[datetime] = _now()


class Member(Base):
    """A person in a workspace."""

    __tablename__ = "members"
    __table_args__ = (CheckConstraint("role IN ('owner', 'admin', 'member')", name="members_role"),)

    workspace_id: Mapped[UUID] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)  # or an e-mail address
    role: Mapped[str]
    added_at: Mapped[datetime] = _now()


class Token(Base):
    """A key to the API: `<id>:<secret>`, of which only the hash is kept."""

    __tablename__ = "tokens"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    name: Mapped[str]
    secret_hash: Mapped[bytes]
    created_at: Mapped[datetime] = _now()
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]  # to the minute
    revoked_at: Mapped[datetime | None]


class Asset(Base):
    """An uploaded picture."""

    __tablename__ = "assets"
    __table_args__ = (Index("assets_newest", "workspace_id", "uploaded_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    key: Mapped[str] = mapped_column(unique=True)  # of the blob, and of its public URL
    mime_type: Mapped[str]
    width: Mapped[int]
    height: Mapped[int]
    size_bytes: Mapped[int]
    description: Mapped[str | None]
    uploaded_at: Mapped[datetime] = _now()


class Job(Base):
    """Work that was asked for: a picture, the analysis of a moodboard, or the training of a style."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(
            "status IN ('backlogged', 'queued', 'processing', 'completed', 'failed', 'cancelled')",
            name="jobs_status",
        ),
        CheckConstraint(
            "(completed_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))",
            name="jobs_completed_at",
        ),
        CheckConstraint("kind IN ('generation', 'analysis', 'training')", name="jobs_kind"),
        CheckConstraint(
            "CASE WHEN kind = 'generation' THEN num_nulls(variant, seed)"
            " ELSE num_nonnulls(variant, seed) END = 0",
            name="jobs_generation",
        ),
        CheckConstraint(
            "(file_key IS NOT NULL) = (kind = 'generation' AND status = 'completed')", name="jobs_file_key"
        ),
        CheckConstraint("(error_code IS NOT NULL) = (status = 'failed')", name="jobs_error"),
        Index("jobs_newest", "workspace_id", "created_at"),
        Index("jobs_by_type", "workspace_id", text("coalesce(variant, kind)"), "created_at"),
        Index(
            "jobs_without_result",
            "workspace_id",
            "status",
            "created_at",
            postgresql_where=text("status IN ('failed', 'cancelled')"),
        ),
        Index(
            "jobs_open",
            "workspace_id",
            "status",
            "created_at",
            postgresql_where=text("completed_at IS NULL"),
        ),
        Index(
            "jobs_turns",
            "workspace_id",
            text("coalesce(variant, kind)"),
            "turn",
            postgresql_where=text("status = 'queued'"),
        ),
        Index(
            "jobs_idempotency",
            "workspace_id",
            text("coalesce(variant, kind)"),
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    token_id: Mapped[UUID | None] = mapped_column(ForeignKey("tokens.id"))  # that asked for it
    status: Mapped[str] = mapped_column(server_default="queued")
    turn: Mapped[int] = mapped_column(server_default="0")  # in the queue that all workspaces share
    kind: Mapped[str] = mapped_column(server_default="generation")
    variant: Mapped[str | None]
    request: Mapped[dict[str, Any]]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    cost: Mapped[Decimal]  # as quoted; charged when the job completes
    base_url: Mapped[str]  # of the file URLs in its webhook
    webhook_url: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    asked_hash: Mapped[bytes | None]  # of the request that came with the key
    lease: Mapped[UUID | None]  # of the worker that may finish the job; a new one at each claim
    claims: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = _now()
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    file_key: Mapped[str | None]
    expanded_prompt: Mapped[str | None]
    engine: Mapped[str | None]
    checkpoint: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]


class Moodboard(Base):
    """Pictures that are read as one direction."""

    __tablename__ = "moodboards"
    __table_args__ = (
        CheckConstraint("cardinality(urls) BETWEEN 1 AND 200", name="moodboards_urls"),
        Index("moodboards_newest", "workspace_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    name: Mapped[str]
    urls: Mapped[list[str]]  # of its pictures
    files: Mapped[list[str]]  # keys of those pictures that came inside a request, and go with the board
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"))  # its latest analysis
    found: Mapped[dict[str, Any] | None]  # by an analysis of these pictures
    edits: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # words of the user's, by field
    share_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _now()


class Style(Base):
    """A LoRA adapter, trained or imported."""

    __tablename__ = "styles"
    __table_args__ = (
        CheckConstraint("model IN ('k2', 'k2-large')", name="styles_model"),
        Index("styles_newest", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    title: Mapped[str]
    model: Mapped[str]  # whose weights it changes
    trigger_word: Mapped[str]
    key: Mapped[str]  # of its safetensors among the blobs
    urls: Mapped[list[str]]  # of pictures that show it
    files: Mapped[list[str]]  # keys of those among them that go with the style
    cover_url: Mapped[str | None]
    public: Mapped[bool] = mapped_column(server_default=text("false"))
    shared_with: Mapped[list[UUID]] = mapped_column(server_default="{}")  # other workspaces
    share_key: Mapped[str | None] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _now()


class Event(Base):
    """Something that happened to a job: a step of progress, or its end."""

    __tablename__ = "events"
    __table_args__ = (Index("events_of_job", "job_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]  # progress, completed, failed, cancelled
    data: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    created_at: Mapped[datetime] = _now()


class Charge(Base):
    """The ledger: one row for each finished picture."""

    __tablename__ = "ledger"
    __table_args__ = (Index("ledger_by_time", "workspace_id", "charged_at"),)

    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    amount: Mapped[Decimal]  # USD
    charged_at: Mapped[datetime] = _now()


class TopUp(Base):
    """Money that was paid in."""

    __tablename__ = "top_ups"
    __table_args__ = (CheckConstraint("amount > 0", name="top_ups_amount"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    amount: Mapped[Decimal] = mapped_column(Numeric(18, 6))  # USD
    paid_at: Mapped[datetime] = _now()


class Delivery(Base):
    """A webhook on its way; its id is the message's, however often it is sent."""

    __tablename__ = "deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="deliveries_state"),
        CheckConstraint(
            "(next_attempt_at IS NOT NULL) = (state = 'pending')", name="deliveries_next_attempt_at"
        ),
        Index("deliveries_newest", "workspace_id", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    workspace_id: Mapped[UUID] = _workspace()
    job_id: Mapped[UUID] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    url: Mapped[str]
    body: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    state: Mapped[str] = mapped_column(server_default="pending")
    error: Mapped[str | None]  # of the last attempt
    created_at: Mapped[datetime] = _now()
    next_attempt_at: Mapped[datetime | None] = _now()


class Worker(Base):
    """A worker process, as it last said of itself."""

    __tablename__ = "workers"
    __table_args__ = (CheckConstraint("state IN ('loading', 'ready', 'failed')", name="workers_state"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    state: Mapped[str]
    lines: Mapped[list[str]] = mapped_column(server_default="{}")  # of the queue, that it takes jobs from
    error: Mapped[str | None]  # why it cannot load its checkpoint
    engine: Mapped[str | None]
    checkpoint: Mapped[str | None]
    seen_at: Mapped[datetime] = _now()
