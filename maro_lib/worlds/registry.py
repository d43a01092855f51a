"""Worlds by name: those that come along, those that other packages bring, and a file of one's own.

Another package offers one by an entry point of the group `maro_lib.worlds`. A file (`my_world.py:MyWorld`) is code, and
is run only if that is allowed in so many words.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from maro_lib.fingerprints import text_digest
from maro_lib.strict_yaml import StrictLoader
from maro_lib.wording import first_line, nearest
from maro_lib.world.generator import SERIES
from maro_lib.world.scripts import ScriptError
from maro_lib.world.turns import TurnGame
from maro_lib.worlds.world import check_knobs

WORLDS = {
    "mystery": "maro_lib.world.mystery:MurderMystery",
    "commons": "maro_lib.worlds.commons:Commons",
    "buying": "maro_lib.worlds.buying:Buying",
    "trust": "maro_lib.worlds.trust:Trust",
    "donor": "maro_lib.worlds.donor:Donor",
    "public_goods": "maro_lib.worlds.public_goods:PublicGoods",
    "coordination": "maro_lib.worlds.coordination:Coordination",
    "textarena": "maro_lib.worlds.textarena:TextArenaGame",
}
GROUP = "maro_lib.worlds"
_FROM_FILES: dict[str, type[TurnGame]] = {}  # by the name that their scenarios bear


class WorldError(ValueError):
    """A world can't be had, or breaks its contract; the message says which, and why."""


def find_world(name: str, *, allow_code: bool = False) -> type[TurnGame]:
    """Return a world by its name, or by file and class (`my_world.py:MyWorld`) where code from there is allowed."""
    if name in _FROM_FILES:
        return _FROM_FILES[name]
    if name in WORLDS:
        module, _, kind = WORLDS[name].partition(":")
        return getattr(import_module(module), kind)
    if ".py:" in name:
        return _from_file(name, allow_code)
    if name in (brought := _brought()):
        return brought[name].load()
    known = [*WORLDS, *brought]
    raise WorldError(f"world: {name!r} is unknown{nearest(name, known)} (known: {', '.join(known)}; or a file of your "
                     "own, my_world.py:MyWorld)")  # fmt: skip


@cache
def _brought() -> dict[str, EntryPoint]:
    """The worlds of other packages; to look for them takes longer than to play a round."""
    return {e.name: e for e in entry_points(group=GROUP)}


def is_world(name: str) -> bool:
    """Whether a name means a world, rather than a script or a folder of them."""
    return name in WORLDS or ".py:" in name or name in _brought()


def knob_values(words: Sequence[str]) -> dict[str, Any]:
    """Read knobs as the command line and parameters have them: `name=value` words, the values as in a YAML file."""
    values: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.isidentifier() and equals and value):
            raise WorldError(f"knobs: {word!r} is not name=value, without spaces")
        try:
            values[name] = yaml.load(value, StrictLoader)
        except (yaml.YAMLError, ValueError) as error:
            raise WorldError(f"knobs: {word!r} is not plain YAML: {error}") from None
    return values


def _from_file(name: str, allow_code: bool) -> type[TurnGame]:
    path, _, kind = name.rpartition(":")
    if not allow_code:
        raise WorldError(f"world: {name}: is code, which runs with all your rights; set `allow_code: true` "
                         "(--allow-code) if you have read it")  # fmt: skip
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise WorldError(f"world: {name}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"maro_world_{file.stem}_{text_digest([str(file)])[:8]}", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses, and its words, are looked for
    try:
        spec.loader.exec_module(module)
        world = getattr(module, kind)
    except Exception as error:  # whatever somebody's code raises
        raise WorldError(f"world: {name}: {type(error).__name__}: {error}") from error
    if not (isinstance(world, type) and issubclass(world, TurnGame) and isinstance(getattr(world, "name", None), str)):
        raise WorldError(f"world: {name}: {kind} is no world: a subclass of `World` with a `name` is needed")
    if world.name in WORLDS:
        raise WorldError(f"world: {name}: calls itself {world.name!r}, which is the name of another; rename it")
    _FROM_FILES[world.name] = world
    return world


def scenarios(
    world: str, n: int, seed: int, knobs: Mapping[str, Any] | None = None, *, register: str = "compact",
    allow_code: bool = False,
) -> list[Any]:  # fmt: skip
    """Make `n` scenarios of a world (scripts of the mystery); two different seeds share none."""
    if not 0 < n <= SERIES:
        raise WorldError(f"scenarios: n={n}; 1 to {SERIES:,} are possible, take another seed for more")
    kind = find_world(world, allow_code=allow_code)
    turned = knobs_of(kind, knobs or {})
    return [_dealt(kind, seed * SERIES + k, turned, register, knobs or {}) for k in range(n)]


def _dealt(kind: type[TurnGame], seed: int, turned: Any, register: str, given: Mapping[str, Any]) -> Any:
    """Make one scenario; where a world's own code fails, say which world it is, and which knobs were turned."""
    try:
        return kind.generate(seed, turned, register)
    except (WorldError, ScriptError):
        raise
    except Exception as error:
        knobs = ", ".join(f"{name}={value}" for name, value in given.items()) or "no knob turned"
        raise WorldError(f"world: {kind.name}: no scenario can be dealt with {knobs} (seed {seed}): {_why(error)}"
                         ) from error  # fmt: skip


def _why(error: Exception) -> str:
    """Say in a line what was wrong with what a world dealt."""
    if isinstance(error, ValidationError):  # a scenario that is none
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return first_line(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {first_line(error)}"


def knobs_of(world: type[TurnGame], values: Mapping[str, Any]) -> Any:
    """Make a world's knobs of values by name; what it does not have, or can't be, is named."""
    known = {f.name: f for f in fields(world.knobs)}
    for name in values:
        if name not in known:
            raise WorldError(f"world_knobs: {world.name} has no {name!r}{nearest(name, known)} (it has: "
                             f"{', '.join(known)})")  # fmt: skip
    try:
        made = world.knobs(**values)
        check_knobs(made)
    except (TypeError, ValueError) as error:
        raise WorldError(f"world_knobs: {world.name}: {error}") from None
    return made
