"""Settings from parameters: a notebook's names fill the fields of a dataclass in one call.

`filled(Settings, globals())` is `Settings(beta=beta, anchor=anchor, ...)` with every field that has a parameter of its
name; what is derived is given by name. Used at the top of the notebooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def filled(kind: type[Kind], parameters: Mapping[str, Any], **derived: Any) -> Kind:
    """Make a dataclass of the parameters that bear its fields' names, and of what is derived."""
    named = {f.name: parameters[f.name] for f in fields(kind) if f.init and f.name in parameters}
    return kind(**named | derived)
