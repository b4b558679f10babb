"""Hosts: the machines that were measured on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlmodel import Session

from monitor.domain import Host
from monitor.store.models import StoredHost


def save(db: Session, host: Host, *, now: datetime) -> None:
    """Keep a host as it is at `now`; its machine id says which one it is."""
    row = db.get(StoredHost, host.machine_id)
    if row is None:
        row = StoredHost(**_facts(host), machine_id=host.machine_id, first_seen_at=now, last_seen_at=now)
    else:
        for name, value in _facts(host).items():
            setattr(row, name, value)
        row.last_seen_at = now
    db.add(row)
    db.flush()


def get(db: Session, machine_id: str) -> Host | None:
    """Return a host as it was seen last."""
    row = db.get(StoredHost, machine_id)
    if row is None:
        return None
    return Host(
        name=row.name,
        machine_id=row.machine_id,
        hardware_class=row.hardware_class,
        boot_id=row.boot_id,
        cpu=row.cpu,
        cores=row.cores,
        memory_bytes=row.memory_bytes,
        gpu=row.gpu,
        kernel=row.kernel,
    )


def _facts(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "hardware_class": host.hardware_class,
        "boot_id": host.boot_id,
        "cpu": host.cpu,
        "cores": host.cores,
        "memory_bytes": host.memory_bytes,
        "gpu": host.gpu,
        "kernel": host.kernel,
    }
