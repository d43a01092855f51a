"""What may be set: the names that the notebooks' parameter cells declare, and the YAML files that set them.

The cell tagged `parameters` is the declaration: a literal per line, its annotation (or its own type), and
its comment as help. papermill takes any name and any type, and only logs a warning about a name that no
notebook knows; here a file is refused before anything runs, with every mistake in it and where it stands.

Used by the series runner (`maro_lib.run.series`) and the house-rule tests.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from maro_lib.credentials import key_problem
from maro_lib.run.ranges import outside, range_of
from maro_lib.strict_yaml import StrictLoader, read_text
from maro_lib.wording import nearest

SCALARS = {"bool": bool, "int": int, "float": (int, float), "str": str}
TYPES = (*SCALARS, *(f"list[{k}]" for k in SCALARS), *(f"dict[str, {k}]" for k in (*SCALARS, "dict")))


PAGE = """# Parameters

What a parameter file (`params/*.yaml`) may set, and `SET="name=value"` on the command line. A name means the same in
every notebook. A value outside its range is refused before anything runs.

`.venv/bin/python -m maro_lib parameters > docs/parameters.md` writes this page from the notebooks' parameter cells and
`maro_lib/run/ranges.py`.

| name | meaning | type | range | default | notebooks |
|---|---|---|---|---|---|"""


# what decides how a series runs, and which no notebook sees
OF_THE_SERIES = {"from_run": ("str", "", "another run: its stages that would come out the same are taken over, and "
                              "nothing of it is written")}  # fmt: skip


class ParameterError(ValueError):
    """A parameter is declared or set wrongly; the message lists every problem with its place."""


@dataclass(frozen=True)
class Parameter:
    """One name that a parameter file may set."""

    type: str  # one of TYPES
    default: Any
    notebooks: tuple[str, ...]  # those that declare it
    help: str = ""


def declared(notebooks: Iterable[Path]) -> dict[str, Parameter]:
    """Collect the parameters of a series; a name that several notebooks declare must mean the same."""
    found = {name: Parameter(kind, default, (), told) for name, (kind, default, told) in OF_THE_SERIES.items()}
    problems = []
    for path in notebooks:
        for name, new in read_parameters(path).items():
            old = found.setdefault(name, new)
            if (old.type, old.default) != (new.type, new.default):
                problems.append(f"`{name}` is {_say(new)} in {path.stem}, but {_say(old)} in {old.notebooks[0]}")
            elif old is not new:
                found[name] = replace(old, notebooks=old.notebooks + new.notebooks)
    if problems:
        raise ParameterError("\n".join(problems))
    return found


def read_parameters(path: Path) -> dict[str, Parameter]:
    """Read one notebook's parameter cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [c for c in cells if "parameters" in c["metadata"].get("tags", ())]
    if len(tagged) != 1:
        raise ParameterError(f"{path}: {len(tagged)} cells are tagged `parameters`; there must be exactly one")
    source = "".join(tagged[0]["source"])
    try:
        tree, comments = ast.parse(source), _comments(source)
    except (SyntaxError, tokenize.TokenError) as error:
        raise ParameterError(f"{path}: the parameter cell is not Python: {error}") from None
    problems, parameters = [], {}
    if len(tree.body) == 1 and source.startswith("run:"):  # more lines, or no annotation, and IPython sees Python
        problems.append(f"{path}: IPython takes a parameter cell of the one line `run: ...` for its magic %run; "
                        'write `run = "notebook"`')  # fmt: skip
    for node in tree.body:
        try:
            name, kind, default = _declaration(node)
        except ValueError as error:
            problems.append(f"{path}: parameter cell, line {node.lineno}: {error}")
        else:
            parameters[name] = Parameter(kind, default, (path.stem,), comments.get(node.end_lineno, ""))
    if problems:
        raise ParameterError("\n".join(problems))
    return parameters


def load_params(path: str | Path, known: Mapping[str, Parameter], changed: Sequence[str] = ()) -> dict[str, Any]:
    """Read a parameter file, and `name=value` in its place; every name must be declared, every value in its range."""
    entries = _entries(str(path), _read(Path(path)))
    if not entries:
        raise ParameterError(f"{path}: must hold lines `name: value`, at least one (such as `run: cpu`)")
    again = [entry for words in changed for entry in _assigned(words)]
    if not any(name in known or nearest(name, known) for _, name, _ in entries):  # of something else nothing is quoted
        raise ParameterError(f"{path}: is no parameter file: none of its names is a parameter (such as `run`)")
    if problems := [*_check(entries, known), *_check(again, known)]:
        raise ParameterError("\n".join(problems))
    return {name: value for _, name, value in [*entries, *again]}


def _assigned(words: str) -> list[tuple[str, Any, Any]]:
    """Read `name=value`, the value as in a parameter file."""
    name, _, value = words.partition("=")
    if not name.isidentifier() or not value:
        raise ParameterError("SET: must be name=value, without spaces")
    place = f"SET {name}"
    return [(place, name, value) for _, name, value in _entries(place, f"{name}: {value}")]


def _entries(place: str, text: str) -> list[tuple[str, Any, Any]]:
    """Read a mapping: where each entry stands, its name and its value."""
    try:
        loader = StrictLoader(text)
        node = loader.get_single_node()
        lines = node.value if isinstance(node, yaml.MappingNode) else []
        return [(f"{place}:{key.start_mark.line + 1}", loader.construct_document(key), loader.construct_document(value))
                for key, value in lines]  # fmt: skip
    except yaml.YAMLError as error:
        raise ParameterError(f"{place}: is not plain YAML: {error}") from None


def problems_of(place: str, values: Mapping[Any, Any], known: Mapping[str, Parameter]) -> list[str]:
    """Say what is wrong with values that stand somewhere else than in a parameter file."""
    return [*_check(((place, name, value) for name, value in values.items()), known)]


def read_entries(path: Path) -> dict[Any, Any]:
    """Read a YAML file that must hold a mapping, no name twice."""
    found: dict[Any, Any] = {}
    for place, name, value in _entries(str(path), _read(path)):
        if name in found:
            raise ParameterError(f"{place}: `{name}` is given twice; keep one")
        found[name] = value
    return found


def effective(params: dict[str, Any], known: dict[str, Parameter]) -> dict[str, Any]:
    """Return the value of every declared name: as set, or its default."""
    return {name: params.get(name, p.default) for name, p in known.items()}


def _declaration(node: ast.stmt) -> tuple[str, str, Any]:
    """Return name, type and default of one line of a parameter cell."""
    match node:
        case ast.AnnAssign(target=ast.Name(name), value=ast.expr() as value, annotation=annotation):
            kind = ast.unparse(annotation)
        case ast.Assign(targets=[ast.Name(name)], value=value):
            kind = ""
        case _:
            raise ValueError("holds something other than `name = literal`")
    try:
        default = ast.literal_eval(value)
    except ValueError:
        raise ValueError(f"`{name}` is not a literal; derive it in a later cell") from None
    kind = kind or _kind_of(default)
    if kind not in TYPES:
        raise ValueError(f"`{name}` is of type {kind}; annotate it with one of {', '.join(TYPES)}")
    if not _fits(default, kind):
        raise ValueError(f"`{name}` is declared {kind}, but its default is {default!r}")
    return name, kind, default


def _kind_of(value: Any) -> str:
    """Return the type that a literal without annotation stands for."""
    if isinstance(value, list) and len(kinds := {type(v).__name__ for v in value}) == 1:
        return f"list[{kinds.pop()}]"
    if isinstance(value, dict) and len(kinds := {type(v).__name__ for v in value.values()}) == 1:
        return f"dict[str, {kinds.pop()}]"
    return type(value).__name__


def _fits(value: Any, kind: str) -> bool:
    if kind.startswith("list["):
        return isinstance(value, list) and all(_fits(v, kind[5:-1]) for v in value)
    if kind.startswith("dict["):
        return isinstance(value, dict) and all(isinstance(k, str) and _fits(v, kind[10:-1]) for k, v in value.items())
    # Python counts True as a number; a parameter file that says `n_games: true` is a mistake.
    return isinstance(value, SCALARS.get(kind, dict)) and (kind == "bool" or not isinstance(value, bool))


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        near = ", ".join(sorted(p.name for p in path.parent.glob("*.yaml"))) or "nothing"
        raise ParameterError(f"{path}: there is no such file; {path.parent} holds: {near}") from None
    except OSError as error:
        raise ParameterError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:
        raise ParameterError(f"{path}: {error}") from None


def _check(entries: Iterable[tuple[str, Any, Any]], known: Mapping[str, Parameter]) -> Iterator[str]:
    """Yield place and problem of everything that is wrong with what is set."""
    first: dict[str, str] = {}
    for place, name, value in entries:
        if not isinstance(name, str):
            yield f"{place}: a name must be text, got {name!r} ({type(name).__name__})"
        elif problem := key_problem(name, value):
            yield f"{place}: `{name}` {problem}"
        elif first.setdefault(name, place) != place:
            yield f"{place}: `{name}` is given twice (first in {first[name]}); keep one"
        elif name not in known:
            yield f"{place}: unknown name `{name}`{nearest(name, known) or '; known: ' + ', '.join(sorted(known))}"
        elif not _fits(value, kind := known[name].type):
            got = f"{value!r} ({type(value).__name__})"
            yield f"{place}: `{name}` must be {kind}, got {got}{_hint(value, kind)}"
        elif problem := outside(name, value):
            yield f"{place}: `{name}` {problem}"


def _hint(value: Any, kind: str) -> str:
    """Say how to write what YAML reads differently from what its writer meant."""
    if value is None:
        return "; nothing is given after the colon"
    if kind == "str":
        return "; put it in quotes"
    if isinstance(value, list) and kind.startswith("list["):
        return next(filter(None, (_hint(v, kind[5:-1]) for v in value if not _fits(v, kind[5:-1]))), "")
    number = _number(value, kind) if isinstance(value, str) else ""
    return f"; YAML reads this as text, write {number}" if number else ""


def _number(text: str, kind: str) -> str:
    """Return a number such as 1e-4, which YAML takes for text, as YAML wants it: 1.0e-4."""
    parts = re.fullmatch(r"([+-]?\d+)(\.\d*)?(?:[eE]([+-]?)(\d+))?", text)
    if not parts or kind not in ("int", "float"):
        return ""
    if kind == "int" or not parts[4]:
        return str(int(float(text))) if float(text).is_integer() else text
    return f"{parts[1]}{parts[2] or '.0'}e{parts[3] or '+'}{parts[4]}"


def parameters_page(known: Mapping[str, Parameter]) -> str:
    """Return docs/parameters.md: every parameter with its meaning, range, default and notebooks."""
    rows = [
        f"| `{name}` | {p.help} | {p.type} | {range_of(name)} | `{json.dumps(p.default)}` | "
        f"{', '.join(n[:2] for n in p.notebooks) or 'the series'} |"
        for name, p in known.items()
    ]
    return "\n".join([PAGE, *rows, ""])


def _say(parameter: Parameter) -> str:
    return f"{parameter.type} = {parameter.default!r}"
