"""A very small writer of SVG: every value is escaped, and every chart carries a name and a description.

Colours come from classes in the report's style sheet, so that one drawing serves light, dark and print.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

Attribute = str | float | int | None


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """Return one element. `class_` becomes `class`, other `_` become `-`; None attributes are left out."""
    written = Markup("").join(
        Markup(' {}="{}"').format(Markup(_attribute(key)), _value(value))  # noqa: S704 - our own names
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(children)
    tag = Markup(name)  # noqa: S704 - a literal of this package
    return Markup("<{0}{1}>{2}</{0}>").format(tag, written, inside)


def text(x: float, y: float, words: str, *, anchor: str = "start", class_: str = "") -> Markup:
    """Return words whose baseline begins (or ends, or is centred) at the point."""
    return element(
        "text", words, x=x, y=y, text_anchor=None if anchor == "start" else anchor, class_=class_ or None
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def rect(x: float, y: float, width: float, height: float, class_: str, *, radius: float = 0) -> Markup:
    """Return a rectangle; one that would be narrower than a line is drawn as a line."""
    return element(
        "rect",
        x=x,
        y=y,
        width=max(width, 2.0),
        height=max(height, 0.0),
        rx=radius or None,
        class_=class_,
    )


def group(children: Iterable[Markup], **attributes: Attribute) -> Markup:
    """Return a group."""
    return element("g", *children, **attributes)


def chart(
    identity: str, width: float, height: float, *, title: str, description: str, children: Iterable[Markup]
) -> Markup:
    """Return a whole drawing with an accessible name. `identity` must be unique in the page."""
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", description, id=f"{identity}-desc"),
        *children,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
        role="img",
        aria_labelledby=f"{identity}-title {identity}-desc",
        class_="chart",
    )


def _attribute(key: str) -> str:
    return "viewBox" if key == "viewBox" else key.rstrip("_").replace("_", "-")


def _value(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)
