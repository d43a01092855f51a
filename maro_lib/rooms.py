"""Rooms: a sub-package offers names, and a module of it is loaded when a name of it is first used.

A room's `__init__` lists what it offers as imports under `if TYPE_CHECKING:`: one list for editors, for readers and for
this module; `import maro_lib.world` costs nothing and loads no torch. Used by every room's `__init__`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def offers(source: str) -> dict[str, str]:
    """Return the names that a room's `__init__` offers, each with the module that it is in."""
    blocks = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    imports = (node for block in blocks for node in block.body if isinstance(node, ast.ImportFrom))
    return {name.asname or name.name: node.module for node in imports for name in node.names}


def opened(room: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return what makes a room's names found: its `__getattr__`, `__dir__` and `__all__`."""
    places = offers(Path(sys.modules[room].__file__).read_text(encoding="utf-8"))

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        return getattr(import_module(places[name]), name)

    return find, lambda: sorted(places), sorted(places)
