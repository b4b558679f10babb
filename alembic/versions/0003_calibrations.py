"""The table of calibrations.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calibration",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("machine_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("check_digest", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["check_digest"],
            ["check_definition.digest"],
            name=op.f("fk_calibration_check_digest_check_definition"),
        ),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["host.machine_id"], name=op.f("fk_calibration_machine_id_host")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration")),
    )
    with op.batch_alter_table("calibration", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_calibration_check_digest"), ["check_digest"], unique=False)
        batch_op.create_index(batch_op.f("ix_calibration_machine_id"), ["machine_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("calibration", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_calibration_machine_id"))
        batch_op.drop_index(batch_op.f("ix_calibration_check_digest"))

    op.drop_table("calibration")
