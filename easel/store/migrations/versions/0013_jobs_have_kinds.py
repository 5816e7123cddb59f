"""Jobs have kinds: those that paint nothing have neither variant, seed nor file"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.Text(), server_default="generation", nullable=False))
    op.create_check_constraint("jobs_kind", "jobs", "kind IN ('generation', 'analysis')")
    op.alter_column("jobs", "variant", nullable=True)
    op.alter_column("jobs", "seed", nullable=True)
    op.create_check_constraint(
        "jobs_generation",
        "jobs",
        "CASE WHEN kind = 'generation' THEN num_nulls(variant, seed)"
        " ELSE num_nonnulls(variant, seed) END = 0",
    )
    op.drop_constraint("jobs_file_key", "jobs")
    op.create_check_constraint(
        "jobs_file_key", "jobs", "(file_key IS NOT NULL) = (kind = 'generation' AND status = 'completed')"
    )
