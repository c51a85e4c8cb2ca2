"""Names of modules and classes that are the same in every process: a script run as `__main__` has a real name too."""

from __future__ import annotations

import os
import sys

_MAIN = ("__main__", "__mp_main__")  # the second is a script's module in a child of multiprocessing


def real_module(module: str) -> str:
    """How other processes import `module`: the name that `python -m` was given, or that of the script's file."""
    if module not in _MAIN:
        return module
    main = sys.modules.get(module)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name not in _MAIN:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    if not file:  # an interactive session
        return module
    directory, name = os.path.split(os.path.realpath(file))
    parts = [os.path.splitext(name)[0]]
    while name and os.path.exists(os.path.join(directory, "__init__.py")):
        directory, name = os.path.split(directory)
        parts.insert(0, name)
    return ".".join(parts)


def class_name(kind: type) -> str:
    """The name of a class as a retry policy stores it: `ValueError`, `shop.payments.CardDeclined`."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{real_module(kind.__module__)}.{kind.__qualname__}"
