"""Prints what llama.cpp's own argument parser says in a build that is packaged as a Python library.

    python help_page.py [ARGUMENT …]

Runs in an environment that has `xllamacpp`. The package is llama.cpp's server as a library: its argument
parser is in it and exported, though no Python name leads to it. It is called as `main` of `llama-server`
calls it. With `--help`, the default, it prints its page and ends the process; with other arguments it ends
with 1 for what the build refuses, in its words, and otherwise with 0.
"""

from __future__ import annotations

import ctypes
import sys

import xllamacpp

_PARSE = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
"""`common_params_parse(int, char **, common_params &, llama_example, void (*)(int, char **))`, the same from
b9294 to b11549."""
_SERVER = 12
"""`LLAMA_EXAMPLE_SERVER` of `common/common.h`, the same over these builds."""


def main() -> int:
    """Have the build's parser read the arguments of this process."""
    arguments = sys.argv[1:] or ["--help"]
    parse = getattr(ctypes.CDLL(sys.modules["xllamacpp.xllamacpp"].__file__), _PARSE)
    parse.restype = ctypes.c_bool
    parameters = xllamacpp.CommonParams()
    # The wrapped C++ structure lies in the object itself, behind what every Python object begins with.
    structure = ctypes.c_void_p(id(parameters) + object.__basicsize__)
    argv = [b"llama-server", *(argument.encode() for argument in arguments)]
    array = (ctypes.c_char_p * (len(argv) + 1))(*argv, None)
    return 0 if parse(len(argv), array, structure, ctypes.c_int(_SERVER), None) else 1


if __name__ == "__main__":
    sys.exit(main())
