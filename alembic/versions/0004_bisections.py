"""The tables of bisections.

Revision: 0004, after 0003.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT = sqlmodel.sql.sqltypes.AutoString
_INDEXED = {
    "bisection": ("check_digest", "incident_id", "machine_id", "state"),
    "visit": ("artifact_id", "judgement_id", "run_id"),
}


def upgrade() -> None:
    op.create_table(
        "bisection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("check_id", _TEXT(), nullable=False),
        sa.Column("check_digest", _TEXT(), nullable=False),
        sa.Column("project", _TEXT(), nullable=False),
        sa.Column("machine_id", _TEXT(), nullable=False),
        sa.Column("tier", _TEXT(), nullable=False),
        sa.Column("requested_by", _TEXT(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("incident_id", sa.Integer(), nullable=True),
        sa.Column("state", _TEXT(), nullable=False),
        sa.Column("reason", _TEXT(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["check_digest"],
            ["check_definition.digest"],
            name=op.f("fk_bisection_check_digest_check_definition"),
        ),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["host.machine_id"], name=op.f("fk_bisection_machine_id_host")
        ),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_bisection_incident_id_incident")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bisection")),
    )
    op.create_table(
        "visit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bisection_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("channel", _TEXT(), nullable=False),
        sa.Column("last_resort", sa.Boolean(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("judgement_id", sa.Integer(), nullable=True),
        sa.Column("answer", _TEXT(), nullable=True),
        sa.Column("why", _TEXT(), nullable=False),
        sa.Column("own_run", sa.Boolean(), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["bisection_id"], ["bisection.id"], name=op.f("fk_visit_bisection_id_bisection")
        ),
        sa.ForeignKeyConstraint(["artifact_id"], ["artifact.id"], name=op.f("fk_visit_artifact_id_artifact")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_visit_run_id_run")),
        sa.ForeignKeyConstraint(
            ["judgement_id"], ["judgement.id"], name=op.f("fk_visit_judgement_id_judgement")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_visit")),
        sa.UniqueConstraint("bisection_id", "place", name=op.f("uq_visit_bisection_id_place")),
    )
    for table, columns in _INDEXED.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.create_index(batch_op.f(f"ix_{table}_{column}"), [column], unique=False)


def downgrade() -> None:
    for table in ("visit", "bisection"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in _INDEXED[table]:
                batch_op.drop_index(batch_op.f(f"ix_{table}_{column}"))
        op.drop_table(table)
