"""YAML as plain data from anywhere: no key twice, no tags, bounded depth and size. No error quotes what was read.

The C parser recurses, so that nesting alone could end the process: events, which do not, are counted first.
Read by parameter files and by mysteries; JSON has the same bounds in `maro_lib.strict_json`.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

MAX_TEXT = 4 * 2**20  # bytes of a file
MAX_DEPTH = 100  # levels, aliases followed
MAX_NODES = 50_000  # aliases followed; the longest mystery that comes with the kit has a thousand
MAX_DIGITS = 40  # characters of a number, a date or a truth value


def read_text(path: Path, most: int | None = MAX_TEXT) -> str:
    """Read a file that somebody named; what can't be text, or is too long, is a ValueError."""
    with open(path, "rb") as file:
        data = file.read(-1 if most is None else most + 1)
    if most is not None and len(data) > most:
        raise ValueError(f"holds more than {most // 2**20} MB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None


class StrictLoader(yaml.CSafeLoader):
    """YAML that refuses what plain YAML would overwrite, run or follow without end."""

    def __init__(self, text: str | bytes):
        _check_bounds(text)
        super().__init__(text)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # a list or mapping as a key: refused below
            if key in seen:
                raise _refused("a key is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _number(loader: StrictLoader, node: yaml.ScalarNode) -> Any:
    """Make a number or a date, of a bearable length."""
    if len(node.value) > MAX_DIGITS:
        raise _refused(f"a number of more than {MAX_DIGITS} characters", node)
    try:
        return yaml.CSafeLoader.yaml_constructors[node.tag](loader, node)
    except (ValueError, OverflowError):
        raise _refused("no number or date that could be meant", node) from None


for _kind in ("int", "float", "timestamp"):
    StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _number)


def _check_bounds(text: str | bytes) -> None:
    """Count levels and entries from the parser's events, before anything is built of them."""
    sizes: dict[str | None, tuple[int, int]] = {}  # anchor -> its entries and levels
    inside: list[list[Any]] = [[None, 0, 0]]  # of each open collection: anchor, entries before it, levels within so far
    n = 0  # entries so far
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        match event:
            case yaml.CollectionStartEvent():
                inside.append([event.anchor, n, 0])
                n += 1
                levels = 0
            case yaml.CollectionEndEvent():
                anchor, before, levels = inside.pop()
                levels += 1
                sizes[anchor] = n - before, levels
            case yaml.ScalarEvent():
                sizes[event.anchor] = 1, 0
                n, levels = n + 1, 0
            case yaml.AliasEvent() if event.anchor in sizes:
                n, levels = n + sizes[event.anchor][0], sizes[event.anchor][1]
            case yaml.AliasEvent():
                raise _refused("an alias of nothing that ends before it", event)
            case _:
                continue
        inside[-1][2] = max(inside[-1][2], levels)
        if getattr(event, "tag", None) is not None:
            raise _refused("a tag (`!...`); plain data needs none", event)
        if len(inside) - 1 + levels > MAX_DEPTH:
            raise _refused(f"more than {MAX_DEPTH} levels", event)
        if n > MAX_NODES:
            raise _refused(f"more than {MAX_NODES:,} entries", event)


def _refused(what: str, place: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, place.start_mark)
