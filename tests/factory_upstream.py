"""Handmade views of a loss, for tests of the text that a project's tracker gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import factories
from factory_values import environment
from monitor.domain import Check
from monitor.views.models import RunView
from monitor.views.upstream.parts import BAD, GOOD, Side
from monitor.views.upstream.text import UpstreamText, UpstreamView, upstream_text


def view_of(view: RunView | None = None, **other: Any) -> UpstreamView:
    view = view or replace(factories.planted(), planted=False)
    assert view.judgement
    values: dict[str, Any] = {
        "view": view,
        "good": side(GOOD, factories.OLD),
        "bad": side(BAD, factories.NEW),
        "judgement": view.judgement,
        "bisection": None,
        "monitor_version": "0.1.0",
    }
    return UpstreamView(**values | other)


def side(name: str, version: str, **other: Any) -> Side:
    built = environment(version, (("numpy", "2.3.5" if name == GOOD else "2.4.0"),))
    return Side(name, built.artifact, built, **other)


def text(view: RunView | None = None, **other: Any) -> UpstreamText:
    return upstream_text(view_of(view, **other))


def other_check(**changes: Any) -> Check:
    return replace(factories.planted().check, **changes)
