"""The table of what sweeps are asked to measure.

Revision: 0008, after 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TEXT = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "ordered_sweep",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("check_id", _TEXT(), nullable=False),
        sa.Column("draft_lengths", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_ordered_sweep_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_ordered_sweep")),
    )


def downgrade() -> None:
    op.drop_table("ordered_sweep")
