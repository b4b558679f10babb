"""What the monitor remembers; `queries` holds one file for each word of the glossary."""

from __future__ import annotations

from monitor.store.database import Store
from monitor.store.models import Subject

__all__ = ["Store", "Subject"]
