"""Idempotency keys know the request that they came with"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("asked_hash", sa.LargeBinary(), nullable=True))
