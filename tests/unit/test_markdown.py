"""Text from outside in GitHub's Markdown: it takes no effect, whatever it holds."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from factory_values import HOSTILE
from monitor.views import markdown as md
from monitor.views.text import safe

PARSER = MarkdownIt("commonmark").enable("table")
EVIL = (
    HOSTILE,
    "@everyone look at #12 and GH-7, ggml-org/llama.cpp#9",
    "`code` ``two`` ```three```",
    "[a](javascript:alert(1)) ![b](https://evil.example/x.png) <https://evil.example>",
    "https://evil.example www.evil.example",
    "| a | b |",
    "# heading",
    "- item\n- item",
    "1. first",
    "> quote",
    "***\n---\n===",
    "<!-- comment --> &lt;b&gt; &#64;you",
    "a\nb\r\nc\u2028d",
    "\\",
    "`",
)


def inline(markdown: str) -> list[Token]:
    found = []
    for token in PARSER.parse(markdown):
        found += [token, *(token.children or ())]
    return found


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("frame", ["{}", "before {} after", "- {}", "> {}", "| {} |\n| --- |\n| {} |"])
def test_text_is_only_text(evil: str, frame: str) -> None:
    tokens = inline(frame.replace("{}", md.text(evil)))
    allowed = inline(frame.replace("{}", "x"))
    kinds = {token.type for token in allowed} | {"inline", "text", "softbreak"}

    assert {token.type for token in tokens} <= kinds
    shown = "".join(token.content for token in tokens if token.type == "text")
    assert not re.search(r"[@#]\w|\w+://\w|\bwww\.\w|GH-\d", shown)


@pytest.mark.parametrize("evil", EVIL)
def test_text_is_readable_as_it_was(evil: str) -> None:
    shown = "".join(token.content for token in inline(f"x {md.text(evil)}") if token.type == "text")

    assert shown.replace("\u2060", "").split() == f"x {safe(evil)}".split()


@pytest.mark.parametrize("evil", EVIL)
def test_code_is_one_span_also_in_a_table(evil: str) -> None:
    tokens = inline(md.table(["a", "b"], [[md.code(evil), md.code(evil)]]))

    spans = [token.content for token in tokens if token.type == "code_inline"]
    assert len(spans) == len([token for token in tokens if token.type == "td_open"]) == 2
    assert not [token for token in tokens if token.type in {"html_inline", "link_open", "image"}]


@pytest.mark.parametrize("evil", [*EVIL, "```\n# out\n```", "`````\n<b>"])
def test_nothing_in_a_block_ends_it(evil: str) -> None:
    tokens = PARSER.parse(f"{md.block(evil, 'sh')}\n\nafter")

    assert [token.type for token in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].info == "sh"
