"""Workspace names are unique"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_unique_constraint("workspaces_name_key", "workspaces", ["name"])
