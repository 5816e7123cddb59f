"""Jobs wait in a line for each variant, and workers say from which lines they take"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column(
        "workers", sa.Column("lines", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False)
    )
    op.drop_index("jobs_turns", "jobs")
    op.create_index(
        "jobs_turns",
        "jobs",
        ["workspace_id", sa.text("coalesce(variant, kind)"), "turn"],
        postgresql_where=sa.text("status = 'queued'"),
    )
    if op.get_bind().scalar(sa.text("SELECT to_regclass('pgqueuer')")):
        op.execute(
            "UPDATE pgqueuer SET entrypoint = coalesce(variant, kind) FROM jobs"
            " WHERE entrypoint IN ('generate', 'train') AND payload = uuid_send(jobs.id)"
        )
