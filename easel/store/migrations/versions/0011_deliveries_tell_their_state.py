"""Deliveries tell their state, and when they are sent next"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("state", sa.Text(), server_default="pending", nullable=False))
    op.add_column(
        "deliveries",
        sa.Column(
            "next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True
        ),
    )
    op.execute(
        "UPDATE deliveries SET next_attempt_at = NULL,"
        " state = CASE WHEN delivered THEN 'delivered' ELSE 'failed' END"
        " WHERE delivered OR attempts = 8 OR error = 'The receiver answered 410'"
    )
    op.drop_column("deliveries", "delivered")
    op.create_check_constraint(
        "deliveries_state", "deliveries", "state IN ('pending', 'delivered', 'failed')"
    )
    op.create_check_constraint(
        "deliveries_next_attempt_at", "deliveries", "(next_attempt_at IS NOT NULL) = (state = 'pending')"
    )
    op.create_index("deliveries_newest", "deliveries", ["workspace_id", "created_at"])
