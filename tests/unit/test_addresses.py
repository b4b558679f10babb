"""Addresses: what is shown of them, and to whom credentials go."""

from __future__ import annotations

from monitor import addresses


def test_what_is_shown_has_neither_credentials_nor_what_follows_the_question_mark() -> None:
    assert addresses.shown("https://user:hunter2@index.example:8443/a?b=hunter2#c") == (
        "https://index.example:8443/a"
    )


def test_credentials_go_to_the_host_they_are_for_and_to_no_other() -> None:
    owner = "https://user:pass@index.example/simple/"

    assert addresses.with_credentials_of("https://index.example/f.whl", owner) == (
        "https://user:pass@index.example/f.whl"
    )
    for other in ("https://files.example/f.whl", "http://index.example/f.whl", "https://me@index.example/f"):
        assert addresses.with_credentials_of(other, owner) == other
    assert addresses.without_credentials("https://user:pass@index.example/f?q") == "https://index.example/f?q"
