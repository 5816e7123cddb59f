"""Jobs by type, and those that ended otherwise, are found without reading all"""

from alembic import op
from sqlalchemy import text

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    type_ = text("coalesce(variant, kind)")
    op.create_index("jobs_by_type", "jobs", ["workspace_id", type_, "created_at"])
    op.create_index(
        "jobs_without_result",
        "jobs",
        ["workspace_id", "status", "created_at"],
        postgresql_where=text("status IN ('failed', 'cancelled')"),
    )
