"""The ledger by time"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index("ledger_by_time", "ledger", ["workspace_id", "charged_at"])
