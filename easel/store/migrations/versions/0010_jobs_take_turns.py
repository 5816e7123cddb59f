"""Jobs take turns with those of other workspaces"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("turn", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "jobs_turns", "jobs", ["workspace_id", "turn"], postgresql_where=sa.text("status = 'queued'")
    )
