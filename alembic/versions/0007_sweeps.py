"""The table of sweeps.

Revision: 0007, after 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TEXT = sqlmodel.sql.sqltypes.AutoString


def upgrade() -> None:
    op.create_table(
        "sweep",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("check_id", _TEXT(), nullable=False),
        sa.Column("check_digest", _TEXT(), nullable=False),
        sa.Column("machine_id", _TEXT(), nullable=False),
        sa.Column("project", _TEXT(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_sweep_run_id_run")),
        sa.ForeignKeyConstraint(["machine_id"], ["host.machine_id"], name=op.f("fk_sweep_machine_id_host")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_sweep")),
    )
    with op.batch_alter_table("sweep", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sweep_check_digest"), ["check_digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_sweep_machine_id"), ["machine_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("sweep", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sweep_machine_id"))
        batch_op.drop_index(batch_op.f("ix_sweep_check_digest"))

    op.drop_table("sweep")
