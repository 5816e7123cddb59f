"""Jobs wait in a backlog"""

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.drop_constraint("jobs_status", "jobs")
    op.create_check_constraint(
        "jobs_status",
        "jobs",
        "status IN ('backlogged', 'queued', 'processing', 'completed', 'failed', 'cancelled')",
    )
