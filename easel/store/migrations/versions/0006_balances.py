"""Balances, less what was charged before there were any"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "top_ups",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=18, scale=6), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount > 0", name="top_ups_amount"),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    balance = sa.Column("balance", sa.Numeric(precision=18, scale=6), server_default="0", nullable=False)
    op.add_column("workspaces", balance)
    op.execute(
        "UPDATE workspaces SET balance = -charged.amount"
        " FROM (SELECT workspace_id, sum(amount) AS amount FROM ledger GROUP BY 1) AS charged"
        " WHERE charged.workspace_id = workspaces.id"
    )
