"""The 512 tokens of a synthetic model: every byte, so that any prompt is readable, and syllables to say."""

from __future__ import annotations

import gguf

END = "<|endoftext|>"
_CONSONANTS = "bdfghjklmnprstvz"
_VOWELS = ("a", "e", "i", "o", "u", "ai", "au", "ea", "ee", "ei", "ia", "ie", "io", "oa", "oo", "ou")


def _byte_tokens() -> list[str]:
    """Return the character that stands for each byte in GPT-2's byte-level BPE.

    Printable Latin-1 stands for itself; the others take the characters from U+0100 on, in their order
    (`bytes_to_unicode` of OpenAI's GPT-2).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    characters, spare = [], 0x100
    for byte in range(0x100):
        if byte in printable:
            characters.append(chr(byte))
        else:
            characters.append(chr(spare))
            spare += 1
    return characters


_BYTES = _byte_tokens()
_SPACE = _BYTES[0x20]
_SYLLABLES = [_SPACE + consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]

MERGES = (f"{_SPACE} {_SPACE}",)
"""One merge, because llama.cpp wants a list that is not empty. Syllables have none: they are only spoken."""
FIRST_SYLLABLE = len(_BYTES) + 2
TOKENS = (*_BYTES, _SPACE + _SPACE, END, *_SYLLABLES[: 512 - FIRST_SYLLABLE])


def token_types() -> list[int]:
    """Return GGUF's type of each token, in the order of `TOKENS`."""
    return [gguf.TokenType.CONTROL if token == END else gguf.TokenType.NORMAL for token in TOKENS]
