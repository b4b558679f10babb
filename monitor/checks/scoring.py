"""Whether an answer is right: by its final number, as GSM8K marks it.

The data set ends each solution with a line `#### N` (grade-school-math, Cobbe et al. 2021), and the prompts
ask for the same. An answer counts by the number behind its last such mark; where it has none, by the last
number in it. So an answer that its limit cut before its number is not right, but by a rare accident.
"""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"(?:(?<![\w)])-)?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?"
_MARKED = re.compile(rf"####[^\w\n-]*(?:boxed)?[^\w\n-]*({_NUMBER})")
"""Models set the number in bold, behind a currency or in a box; a heading of four `#` begins with a word."""
_ANY = re.compile(_NUMBER)


def is_right(text: str, answer: str) -> bool:
    """Say whether an answer ends with the number that is right; 1800, 1,800 and 1800.00 are the same."""
    found = _MARKED.findall(text) or _ANY.findall(text)
    return bool(found) and number_in(found[-1]) == number_in(answer)


def number_in(answer: str) -> Decimal | None:
    """Return the number that a text is, None when it is none."""
    text = answer.strip()
    return Decimal(text.replace(",", "")) if _ANY.fullmatch(text) else None
