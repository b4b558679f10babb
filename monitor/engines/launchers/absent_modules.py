"""Answers the import of modules that an environment lacks with empty ones.

The engine gets it as its `sitecustomize`. vLLM imports some packages on its way to a model that never uses
them. What the environment does have is left as it is. MTP_MONITOR_ABSENT names them, separated by commas.
"""

import importlib.util
import os
import sys
import types


class _Empty(types.ModuleType):
    """A module in which every name is another empty one."""

    def __getattr__(self, name: str) -> types.ModuleType:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Empty(f"{self.__name__}.{name}")


for _name in filter(None, os.environ.get("MTP_MONITOR_ABSENT", "").split(",")):
    if importlib.util.find_spec(_name.partition(".")[0]) is None:
        # The package above it stays unknown, so whoever asks whether it is installed hears that it is not.
        sys.modules[_name] = _Empty(_name)
