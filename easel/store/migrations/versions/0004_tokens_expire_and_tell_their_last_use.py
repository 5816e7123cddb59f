"""Tokens expire and tell their last use"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("tokens", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column("tokens", sa.Column("last_used_at", sa.DateTime(timezone=True)))
