"""Open jobs are found without reading the others"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_index(
        "jobs_open",
        "jobs",
        ["workspace_id", "status", "created_at"],
        postgresql_where=sa.text("completed_at IS NULL"),
    )
