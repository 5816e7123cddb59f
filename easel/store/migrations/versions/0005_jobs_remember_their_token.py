"""Jobs remember their token"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("token_id", sa.Uuid(), sa.ForeignKey("tokens.id")))
