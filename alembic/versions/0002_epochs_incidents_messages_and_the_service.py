"""The tables of epochs, incidents, messages and the service; what a run waits for and whether it was told.

Revision: 0002, after 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "beat",
        sa.Column("part", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("part", name=op.f("pk_beat")),
    )
    op.create_table(
        "message",
        sa.Column("id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("type", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
    )
    op.create_table(
        "poll",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("channel", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("address", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_poll")),
        sa.UniqueConstraint("project", "channel", name=op.f("uq_poll_project_channel")),
    )
    op.create_table(
        "delivery",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("message_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("destination", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("state", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["message_id"], ["message.id"], name=op.f("fk_delivery_message_id_message")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("message_id", "destination", name=op.f("uq_delivery_message_id_destination")),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_delivery_destination"), ["destination"], unique=False)
        batch_op.create_index(batch_op.f("ix_delivery_state"), ["state"], unique=False)

    op.create_table(
        "epoch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("machine_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("project", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("check_digest", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("reference_run_id", sa.Integer(), nullable=True),
        sa.Column("reason", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("who", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["check_digest"], ["check_definition.digest"], name=op.f("fk_epoch_check_digest_check_definition")
        ),
        sa.ForeignKeyConstraint(["machine_id"], ["host.machine_id"], name=op.f("fk_epoch_machine_id_host")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_epoch")),
        sa.UniqueConstraint(
            "machine_id",
            "project",
            "check_digest",
            "number",
            name=op.f("uq_epoch_machine_id_project_check_digest_number"),
        ),
    )
    with op.batch_alter_table("epoch", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_epoch_check_digest"), ["check_digest"], unique=False)

    op.create_table(
        "delivery_attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["delivery.id"], name=op.f("fk_delivery_attempt_delivery_id_delivery")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempt")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("uq_delivery_attempt_delivery_id_number")),
    )
    op.create_table(
        "incident",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("project", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("channel", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("machine_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("check_id", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("direction", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("state", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("signature", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("headline", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_bad_run_id", sa.Integer(), nullable=False),
        sa.Column("latest_bad_run_id", sa.Integer(), nullable=False),
        sa.Column("worst_run_id", sa.Integer(), nullable=False),
        sa.Column("fixed_by_run_id", sa.Integer(), nullable=True),
        sa.Column("snoozed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reminders", sa.Integer(), nullable=False),
        sa.Column("remind_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["epoch_id"], ["epoch.id"], name=op.f("fk_incident_epoch_id_epoch")),
        sa.ForeignKeyConstraint(
            ["first_bad_run_id"], ["run.id"], name=op.f("fk_incident_first_bad_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["fixed_by_run_id"], ["run.id"], name=op.f("fk_incident_fixed_by_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["latest_bad_run_id"], ["run.id"], name=op.f("fk_incident_latest_bad_run_id_run")
        ),
        sa.ForeignKeyConstraint(
            ["machine_id"], ["host.machine_id"], name=op.f("fk_incident_machine_id_host")
        ),
        sa.ForeignKeyConstraint(["worst_run_id"], ["run.id"], name=op.f("fk_incident_worst_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident")),
    )
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_incident_epoch_id"), ["epoch_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_incident_first_bad_run_id"), ["first_bad_run_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_incident_fixed_by_run_id"), ["fixed_by_run_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_incident_key"), ["key"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_incident_latest_bad_run_id"), ["latest_bad_run_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_incident_machine_id"), ["machine_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_incident_state"), ["state"], unique=False)
        batch_op.create_index(batch_op.f("ix_incident_worst_run_id"), ["worst_run_id"], unique=False)

    op.create_table(
        "incident_transition",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("incident_id", sa.Integer(), nullable=False),
        sa.Column("action", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("source", sqlmodel.sql.sqltypes.AutoString(), nullable=True),
        sa.Column("target", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("who", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("why", sqlmodel.sql.sqltypes.AutoString(), nullable=False),
        sa.Column("run_ids", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name=op.f("fk_incident_transition_incident_id_incident")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incident_transition")),
    )
    with op.batch_alter_table("incident_transition", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_incident_transition_incident_id"), ["incident_id"], unique=False)

    with op.batch_alter_table("judgement", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("basis", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default="reference")
        )

    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.add_column(sa.Column("decided_sha256", sqlmodel.sql.sqltypes.AutoString(), nullable=True))

    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("channel", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default="stable")
        )
        batch_op.add_column(sa.Column("epoch_id", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column(
                "against", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default="last-good"
            )
        )
        batch_op.add_column(sa.Column("confirm", sa.Boolean(), nullable=False, server_default=sa.true()))
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("waiting", sqlmodel.sql.sqltypes.AutoString(), nullable=False, server_default="")
        )
        batch_op.add_column(sa.Column("announced_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index(batch_op.f("ix_run_epoch_id"), ["epoch_id"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_run_epoch_id_epoch"), "epoch", ["epoch_id"], ["id"])
    # What had ended before anybody was told of ends is history, not news.
    op.execute("UPDATE run SET announced_at = finished_at")


def downgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_run_epoch_id_epoch"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_run_epoch_id"))
        batch_op.drop_column("announced_at")
        batch_op.drop_column("waiting")
        batch_op.drop_column("due_at")
        batch_op.drop_column("priority")
        batch_op.drop_column("confirm")
        batch_op.drop_column("against")
        batch_op.drop_column("epoch_id")
        batch_op.drop_column("channel")

    with op.batch_alter_table("release", schema=None) as batch_op:
        batch_op.drop_column("decided_sha256")

    with op.batch_alter_table("judgement", schema=None) as batch_op:
        batch_op.drop_column("basis")

    with op.batch_alter_table("incident_transition", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_incident_transition_incident_id"))

    op.drop_table("incident_transition")
    with op.batch_alter_table("incident", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_incident_worst_run_id"))
        batch_op.drop_index(batch_op.f("ix_incident_state"))
        batch_op.drop_index(batch_op.f("ix_incident_machine_id"))
        batch_op.drop_index(batch_op.f("ix_incident_latest_bad_run_id"))
        batch_op.drop_index(batch_op.f("ix_incident_key"))
        batch_op.drop_index(batch_op.f("ix_incident_fixed_by_run_id"))
        batch_op.drop_index(batch_op.f("ix_incident_first_bad_run_id"))
        batch_op.drop_index(batch_op.f("ix_incident_epoch_id"))

    op.drop_table("incident")
    op.drop_table("delivery_attempt")
    with op.batch_alter_table("epoch", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_epoch_check_digest"))

    op.drop_table("epoch")
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_delivery_state"))
        batch_op.drop_index(batch_op.f("ix_delivery_destination"))

    op.drop_table("delivery")
    op.drop_table("poll")
    op.drop_table("message")
    op.drop_table("beat")
