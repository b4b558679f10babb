"""The report: one HTML file that asks for nothing outside itself.

The page runs no script, and its content security policy allows nothing but its own style sheet. Whatever
came from outside (versions, file names, logs) is escaped by the templates.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from markupsafe import Markup

from monitor import disk
from monitor.errors import DiskFullError, MonitorError
from monitor.resources import resource_dir
from monitor.views.models import ReleaseLine, ReportView, RunView
from monitor.views.run_section import run_section
from monitor.views.templates import templates
from monitor.views.text import safe

__all__ = ["ReleaseLine", "ReportView", "RunView", "render", "write"]


def render(report: ReportView) -> str:
    """Return the report as one self-contained HTML document."""
    style = (resource_dir("templates") / "report" / "report.css").read_text(encoding="utf-8")
    document = (
        templates()
        .get_template("report/report.html")
        .render(
            report=report,
            runs=[run_section(run) for run in report.runs],
            style=Markup(style),  # noqa: S704 - our own file
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        )
    )
    return safe(document)


def write(report: ReportView, path: Path) -> Path:
    """Write the report to `path`, all or nothing, and return the path.

    Raises:
        DiskFullError: when there is no room; a report that was there before is untouched.
        MonitorError: when the file cannot be written there.

    """
    content = render(report).encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        _remove(beside)
        kept = "everything that was measured, and a report that was there before"
        if disk.says_full(error):
            raise DiskFullError(
                f"No room left on the disk for the report {path}.",
                kept=kept,
                advice="free some space and write the report again: mtp-monitor report -o FILE",
            ) from error
        raise MonitorError(
            f"The report {path} cannot be written: {error.strerror or error}.",
            kept=kept,
            advice="name a file in a folder that may be written to: mtp-monitor report -o FILE",
        ) from error
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the folder itself is the problem, which is reported
