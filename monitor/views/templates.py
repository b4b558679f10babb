"""The templates of report and pages: everything is escaped, and a name that is missing is an error."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitor.planted.names import is_planted
from monitor.resources import resource_dir
from monitor.views import advice, bisected, numbers, sweeps, words


@cache
def templates() -> Environment:
    """Return the templates, with the words and numbers of the house at hand."""
    found = Environment(
        loader=FileSystemLoader(resource_dir("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals.update(a=advice, b=bisected, n=numbers, sw=sweeps, w=words, is_planted=is_planted)
    return found
