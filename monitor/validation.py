"""Turns pydantic's findings into sentences that name the key, the value given and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

_SHOWN_CHARACTERS = 60
_SECRET_WORDS = {"token", "secret", "password", "url"}
"""A value under such a key is never shown: a misspelt secret is still a secret."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[tuple[tuple[int | str, ...], str]]:
    """Return (location, sentence) for each finding of `error`, which `model` raised.

    A sentence starts with the key path in back-ticks and never holds a secret.
    """
    found = []
    for item in error.errors(include_url=False, include_context=True):
        place = tuple(item["loc"])
        owner = model_at(model, place[:-1])
        found.append((place, _sentence(dict(item), place, owner)))
    return found


def key_path(place: Iterable[int | str]) -> str:
    """Return a location as people write it: ("sources", 0, "project") → sources[0].project."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?`, or the list of what is allowed when nothing is near."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(names)}"


def model_at(model: type[BaseModel], place: Iterable[int | str]) -> type[BaseModel] | None:
    """Return the model that the keys at `place` belong to, or None where values are free."""
    current: type[BaseModel] | None = model
    for part in place:
        if isinstance(part, int):
            continue
        if current is None or part not in current.model_fields:
            return None
        current = inner_model(current.model_fields[part].annotation)
    return current


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside an annotation such as `tuple[Source, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := inner_model(argument)) is not None:
            return found
    return None


def is_secret(annotation: Any) -> bool:
    """Say whether values of this annotation are kept out of every text."""
    return annotation is SecretStr or any(is_secret(argument) for argument in get_args(annotation))


def _sentence(item: dict[str, Any], place: tuple[int | str, ...], owner: type[BaseModel] | None) -> str:
    path = key_path(place) or "the whole file"
    key = str(place[-1]) if place else ""
    kind = item["type"]
    if kind == "extra_forbidden":
        return f"`{path}` is unknown; {nearest(key, owner.model_fields if owner else ())}"
    if kind == "missing":
        return f"`{path}` is missing"
    allowed = _allowed(item)
    if not place or isinstance(item.get("input"), dict):
        return f"`{path}`: {allowed}"
    return f"`{path}` is {_shown(item, key, owner)}; allowed: {allowed}"


def _allowed(item: dict[str, Any]) -> str:
    kind = item["type"]
    if kind == "literal_error":
        return str(item["ctx"]["expected"])
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return "a table"
    if kind == "tuple_type":
        return "a list"
    message = str(item["msg"])
    for opening in ("Input should be ", "Value error, ", "Assertion failed, "):
        message = message.removeprefix(opening)
    return message


def _shown(item: dict[str, Any], key: str, owner: type[BaseModel] | None) -> str:
    field = owner.model_fields.get(key) if owner else None
    if (field and is_secret(field.annotation)) or not _SECRET_WORDS.isdisjoint(key.split("_")):
        return "not usable (its value is not shown)"
    text = repr(item.get("input"))
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
