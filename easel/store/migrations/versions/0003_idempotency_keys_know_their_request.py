"""Idempotency keys know the request that they came with"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_hash", sa.LargeBinary(), nullable=True))
