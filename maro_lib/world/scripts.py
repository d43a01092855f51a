"""A mystery as data: read, checked, written.

A script holds what every player may know (background, special rules, stages), what each character alone
knows (sections per stage, goals), the clues by place, and the one truth. Facts on clues and characters
repeat in a few words what the prose says, so that a solver (`maro_lib.world.solver`) can check that the case
can be solved and a scripted player can follow it.

Taught in notebook 01. MIRAGE's scripts are JSON without factions, facts or checks; see `maro_lib.world.mirage`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from maro_lib.strict_yaml import MAX_TEXT, StrictLoader, read_text
from maro_lib.wording import counted, nearest

Text = Annotated[str, StringConstraints(strip_whitespace=True)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\n\r\"“”【】:：]+$")]
Faction = Literal["culprit", "civilian"]
FACTIONS: tuple[Faction, ...] = ("culprit", "civilian")
CULPRIT = "culprit"  # the `who` of a fact about whoever did it


class ScriptError(ValueError):
    """A script can't be used; the message names the file, the path inside it, and what is wrong."""


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Digested(_Data):
    """Data that is known by what it holds."""

    @cached_property
    def digest(self) -> str:
        data = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(data.encode()).hexdigest()[:16]

    def model_copy(self, **options: Any) -> Self:
        """Copy, and forget the digest and whatever else was worked out: a changed copy is another one."""
        copied = super().model_copy(**options)
        for name in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[name]
        return copied


class Fact(_Data):
    """One thing that is so: `who` (a character, or "culprit") has `value` for `trait`."""

    who: Name
    trait: Text
    value: Text


class SpecialRule(_Data):
    """A special rule of an unorthodox world: who has all of `when` has, in truth, all of `then`."""

    text: Text
    when: dict[str, str] = {}
    then: dict[str, str] = {}


class Stage(_Data):
    name: Text = ""
    narration: Text = ""


class Sections(_Data):
    """What one character alone reads at the start of one stage."""

    story: Text = ""
    script: Text = ""
    relationship: Text = ""
    performance: Text = ""
    purpose: Text = ""
    ability: Text = ""


class Goal(_Data):
    """A character's own aim; when a character has goals, it succeeds if all of them are met."""

    text: Text
    check: Literal["faction_wins", "not_accused", "accused", "clue_found", "clue_hidden"] = "faction_wins"
    of: str = ""  # the character that is to be accused, or the clue's id


class Character(_Data):
    name: Name
    faction: Faction
    role: Text = ""  # groups characters for credit baselines; the faction when empty
    aliases: tuple[Name, ...] = ()
    sections: tuple[Sections, ...]
    goals: tuple[Goal, ...] = ()
    knows: tuple[Fact, ...] = ()  # facts that its sections tell it


class Clue(_Data):
    id: Text
    text: Text
    place: Text = ""
    stage: int = Field(default=1, ge=1)
    private_to: str = ""  # only this character can find it, and only it is told
    trigger: Text = ""  # a memory: released to `private_to` when this word is spoken in public
    facts: tuple[Fact, ...] = ()


class Ending(_Data):
    """What is read out at the end; the first one whose condition holds."""

    when: Literal["caught", "escaped", "tie", "accused", "always"]
    who: str = ""
    text: Text


class Truth(_Data):
    culprits: tuple[Name, ...] = Field(min_length=1)
    text: Text


class Script(Digested):
    world: ClassVar[str] = "mystery"
    title: Text = Field(min_length=1)
    cell: Annotated[str, StringConstraints(pattern=r"^[SM][OU][OC]$")]
    language: Literal["en", "zh"] = "en"
    register_: Literal["prose", "compact"] = Field(default="prose", alias="register")
    background: Text
    stages: tuple[Stage, ...] = (Stage(),)
    rules: tuple[SpecialRule, ...] = ()
    given: tuple[Fact, ...] = ()  # facts that the background tells everyone
    unique: tuple[str, ...] = ()  # traits whose culprit value nobody but a culprit can have
    characters: tuple[Character, ...] = Field(min_length=2)
    clues: tuple[Clue, ...] = Field(min_length=1)
    endings: tuple[Ending, ...] = ()
    truth: Truth

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.characters)

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(c.place for c in self.clues if c.place and not c.trigger))

    @property
    def culprits(self) -> tuple[str, ...]:
        """The culprits who are among the players (the truth may name somebody who is not)."""
        return tuple(c.name for c in self.characters if c.faction == "culprit")

    @property
    def n_culprits(self) -> int:
        return len(self.culprits)

    def character(self, name: str) -> Character:
        return next(c for c in self.characters if c.name == name)

    @model_validator(mode="after")
    def _check(self) -> Script:
        if problems := list(_problems(self)):
            raise ValueError("\n".join(problems))
        return self


def _problems(s: Script):
    """Yield what the types alone can't see, each with its path."""
    spelt: dict[str, str] = {}
    for i, c in enumerate(s.characters):
        for word in (c.name, *c.aliases):
            if spelt.setdefault(word.casefold(), c.name) != c.name or word.casefold() == CULPRIT:
                yield f"characters[{i}]: the name {word!r} is taken"
        if len(c.sections) != len(s.stages):
            yield f"characters[{i}].sections: {len(c.sections)} given, but there are {len(s.stages)} stages"
    names, ids = set(s.names), {c.id for c in s.clues}
    if len(names) < len(s.characters):
        yield "characters: two have the same name"
    if (s.cell[0] == "S") != (len(s.stages) == 1):
        yield f"cell: {s.cell} does not fit {counted(len(s.stages), 'stage')}"
    if set(s.culprits) != set(s.truth.culprits) & names:
        yield f"truth.culprits: {list(s.truth.culprits)}, but the faction says {list(s.culprits)}"
    if len(ids) < len(s.clues):
        yield "clues: two have the same id"
    for i, clue in enumerate(s.clues):
        at = f"clues[{i}] ({clue.id})"
        if clue.stage > len(s.stages):
            yield f"{at}.stage: {clue.stage}, but there are {len(s.stages)} stages"
        if clue.private_to and clue.private_to not in names:
            yield f"{at}.private_to: nobody is called {clue.private_to!r}{nearest(clue.private_to, names)}"
        if clue.trigger and not clue.private_to:
            yield f"{at}.trigger: a memory needs `private_to`, the character whose memory it is"
        if not clue.trigger and not clue.place:
            yield f"{at}.place: a clue that is no memory needs a place"
    for at, fact in _facts(s):
        if fact.who != CULPRIT and fact.who not in names:
            yield f"{at}.who: nobody is called {fact.who!r}{nearest(fact.who, names)}"
    for i, c in enumerate(s.characters):
        for j, g in enumerate(c.goals):
            wanted = {"accused": names, "clue_found": ids, "clue_hidden": ids}.get(g.check)
            if wanted is not None and g.of not in wanted:
                yield f"characters[{i}].goals[{j}].of: {g.of!r} is unknown{nearest(g.of, wanted)}"
    for i, e in enumerate(s.endings):
        if e.when == "accused" and e.who not in names:
            yield f"endings[{i}].who: nobody is called {e.who!r}{nearest(e.who, names)}"


def _facts(s: Script):
    yield from ((f"given[{i}]", f) for i, f in enumerate(s.given))
    for i, c in enumerate(s.clues):
        yield from ((f"clues[{i}] ({c.id}).facts[{j}]", f) for j, f in enumerate(c.facts))
    for i, c in enumerate(s.characters):
        yield from ((f"characters[{i}].knows[{j}]", f) for j, f in enumerate(c.knows))


# --- reading and writing ---------------------------------------------------------------------------


def parse_script(data: Any, source: str = "script") -> Script:
    """Make a script of plain data, or say what is wrong with it and where; of what is none, nothing is quoted."""
    needed = [name for name, field in Script.model_fields.items() if field.is_required()]
    if isinstance(data, dict) and len(lacks := [name for name in needed if name not in data]) > len(needed) / 2:
        raise ScriptError(f"{source}: is no script: {', '.join(lacks)} are missing")
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        lines = [line for e in errors if not _is_consequence(e, errors) for line in _explain(e)]
        more = f"\n  (+{len(lines) - 12} more)" if len(lines) > 12 else ""
        raise ScriptError("\n  ".join([f"{source}:", *lines[:12]]) + more) from None


def load_script(path: str | Path) -> Script:
    """Read one script from a YAML file."""
    documents = plain_documents(text_of(Path(path)), path)
    if len(documents) != 1:
        raise ScriptError(f"{path}: holds {len(documents)} YAML documents; a script is exactly one")
    return parse_script(documents[0], str(path))


def plain_documents(text: str, path: str | Path) -> list[Any]:
    """Read YAML documents that hold plain data."""
    try:
        return list(yaml.load_all(text, Loader=StrictLoader))
    except yaml.YAMLError as error:
        raise ScriptError(f"{path}: is not plain YAML: {error}") from None


def text_of(path: Path, most: int | None = MAX_TEXT) -> str:
    """Read a file of a mystery as text of so many bytes at most."""
    try:
        return read_text(path, most)
    except OSError as error:
        raise ScriptError(f"{path}: can't be read ({error.strerror})") from None
    except ValueError as error:
        raise ScriptError(f"{path}: {error}") from None


def dump_script(script: Script, path: str | Path | None = None) -> str:
    """Write a script as YAML (to `path` when given); reading it back gives an equal script."""
    data = script.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml.dump(data, Dumper=yaml.CSafeDumper, allow_unicode=True, sort_keys=False, width=110)
    if path is not None:
        Path(path).write_text(text, encoding="utf-8")
    return text


def bundled() -> dict[str, Script]:
    """The mysteries that come with the package, by file name."""
    folder = resources.files("maro_lib.world") / "cases"
    return {p.name.removesuffix(".yaml"): load_script(p) for p in sorted(folder.iterdir(), key=lambda p: p.name)
            if p.name.endswith(".yaml")}  # fmt: skip


def _is_consequence(error: dict, errors: list) -> bool:
    """True for "too short" when the list is so only because items of it were refused."""
    at = error["loc"]
    return error["type"] == "too_short" and any(e["loc"][: len(at)] == at != e["loc"] for e in errors)


def _explain(error: dict) -> list[str]:
    """Turn one pydantic error into lines `path: what is wrong`."""
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error["loc"]).lstrip(".")
    if not where:
        return error["msg"].removeprefix("Value error, ").split("\n")
    if error["type"] == "extra_forbidden":
        known = _fields_at(error["loc"][:-1])
        return [f"{where}: unknown name{nearest(str(error['loc'][-1]), known)} (known: {', '.join(known)})"]
    if error["type"] == "missing":
        return [f"{where}: is missing"]
    got = error["input"]
    shown = f"{got!r:.60}" if isinstance(got, str | int | float | bool | None) else f"a {type(got).__name__}"
    return [f"{where}: {error['msg']}; got {shown}"]


_INSIDE = {"characters": Character, "clues": Clue, "stages": Stage, "rules": SpecialRule, "endings": Ending,
           "truth": Truth, "given": Fact, "facts": Fact, "knows": Fact, "sections": Sections,
           "goals": Goal}  # fmt: skip


def _fields_at(loc: tuple) -> list[str]:
    names = [p for p in loc if isinstance(p, str)]
    model = _INSIDE.get(names[-1], Script) if names else Script
    return [f.alias or name for name, f in model.model_fields.items()]
