"""What games are played from, and how that is written: mysteries' scripts, and the scenarios of all other worlds.

A scenario holds who sits where, what all know (`facts`), what each seat alone knows (`private`) and what nobody is told
(`hidden`), so that a leak can be looked for in the same way everywhere: nothing that another seat reads may depend on
what one seat alone knows before its owner speaks.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from maro_lib.world.scripts import (
    Digested,
    Name,
    Script,
    ScriptError,
    Text,
    dump_script,
    parse_script,
    plain_documents,
    text_of,
)


class Seated(Digested):
    """Who sits in a seat."""

    name: Name
    role: Name
    faction: Text = ""  # the side that wins or loses together; empty where a world has none


class Scenario(Digested):
    """What is there before the seed of a game decides anything."""

    world: Text = Field(min_length=1)
    title: Text = Field(min_length=1)
    cell: Text = ""  # which kind of game, by the knobs that matter
    language: Literal["en"] = "en"
    register_: Literal["prose", "compact"] = Field(default="compact", alias="register")
    characters: tuple[Seated, ...] = Field(min_length=1)
    facts: dict[str, Any] = Field(default_factory=dict)
    private: tuple[dict[str, Any], ...] = ()  # by seat
    hidden: dict[str, Any] = Field(default_factory=dict)  # what nobody is told

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.characters)

    def alone(self, seat: int) -> dict[str, Any]:
        """What one seat alone knows."""
        return self.private[seat] if self.private else {}

    @model_validator(mode="after")
    def _check(self) -> Scenario:
        if len({*self.names}) < len(self.names):
            raise ValueError("characters: a name occurs twice")
        if self.private and len(self.private) != len(self.characters):
            raise ValueError(f"private: {len(self.private)} entries for {len(self.characters)} seats")
        return self


def dump_scripts(scripts: Iterable[Script | Scenario]) -> str:
    """Write many scripts or scenarios as one YAML text, one document each."""
    return "---\n".join(dump_script(s) if isinstance(s, Script) else _dump_scenario(s) for s in scripts)


def load_scripts(path: str | Path) -> dict[str, Script | Scenario]:
    """Read what `dump_scripts` wrote, by digest: the column that the tables know them by."""
    parts = enumerate(text_of(Path(path), most=None).split("\n---\n"), start=1)  # each within the bounds of one
    read = [_parsed(data, f"{path}, document {i}") for i, part in parts for data in plain_documents(part, path)]
    return {s.digest: s for s in read}


def _dump_scenario(scenario: Scenario) -> str:
    data = scenario.model_dump(mode="json", by_alias=True)
    return yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False, width=110)


def _parsed(data: Any, source: str) -> Script | Scenario:
    if not (isinstance(data, dict) and "world" in data):
        return parse_script(data, source)
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:12]]
        raise ScriptError("\n  ".join([f"{source}:", *lines])) from None
