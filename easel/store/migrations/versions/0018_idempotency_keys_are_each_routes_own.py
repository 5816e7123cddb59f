"""Idempotency keys are each route's own"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.drop_index("jobs_idempotency", "jobs")
    op.create_index(
        "jobs_idempotency",
        "jobs",
        ["workspace_id", sa.text("coalesce(variant, kind)"), "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
