"""A world's words: sentences in two registers, from a YAML file beside the world, with those that all worlds share.

Each file holds `compact` and `prose`, with the same sentences and the same braces in both; `common.yaml` holds what
every world says. Agents' words stand between quotation marks.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import nearest
from maro_lib.world.phrases import WordsError

_REGISTERS = ("compact", "prose")
FOLDER = Path(__file__).with_name("words")


class Words:
    """The sentences of one world and register, by name."""

    def __init__(self, sentences: Mapping[str, Any], source: str):
        self._sentences, self._source = sentences, source

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._sentences[name]
        except KeyError:
            raise AttributeError(
                f"{self._source}: lacks the sentence {name!r}{nearest(name, self._sentences)}"
            ) from None

    def said(self, *names: str, **what: Any) -> str:
        """Say the first of these sentences that there is."""
        name = next((n for n in names if n in self._sentences), names[-1])
        try:
            return getattr(self, name).format(**what)
        except (KeyError, IndexError, ValueError) as error:
            raise WordsError(f"{self._source}: {name}: {error}; it may hold {', '.join(sorted(what))}") from None

    def __deepcopy__(self, _memo: Any) -> Words:
        return self


def words_file(world: type) -> Path:
    """Where a world's words are: a file of the name of its module."""
    module = Path(inspect.getfile(world))
    return FOLDER / f"{module.stem}.yaml" if module.parent == FOLDER.parent else module.with_suffix(".yaml")


@cache
def words_of(world: type, register: str) -> Words:
    """The words of a world, with those that all worlds share."""
    path = words_file(world)
    own, common = read_registers(path), read_registers(FOLDER / "common.yaml")
    return Words(common[register] | own[register], f"{path.name}, {register}")


def read_registers(path: Path) -> dict[str, dict[str, Any]]:
    """Read a file of words; both registers say the same things."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise WordsError(f"{path}: can't be read: {error}") from None
    if not isinstance(data, dict) or sorted(data) != sorted(_REGISTERS):
        raise WordsError(f"{path}: holds the registers {', '.join(_REGISTERS)}, each with its sentences")
    compact, prose = (data[r] for r in _REGISTERS)
    if only := sorted(compact.keys() ^ prose.keys()):
        raise WordsError(f"{path}: {only[0]!r} is not in both registers")
    return data
