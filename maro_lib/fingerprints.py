"""What a stage's result depends on, written down so that an unchanged stage need not run again.

A stage depends on its notebook's code, on the library modules that this code reaches by import, on its
parameters, on the artefacts it reads, and on the versions below it. A change in `loss` therefore costs
nobody the games that were played before. Contents are hashed, not dates: a copied folder is still current.

Used by the series runner (`maro_lib.run.series`).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from maro_lib.provenance import versions
from maro_lib.rooms import offers
from maro_lib.runs import located, run_folder

PACKAGE = Path(__file__).resolve().parent


class Fingerprint(BaseModel):
    """Everything that decides a stage's result; `cells` last, see `is_same_work`."""

    library: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    cells: str

    def without(self, *names: str) -> Fingerprint:
        """Leave some parameters out."""
        return self.model_copy(update={"parameters": {k: v for k, v in self.parameters.items() if k not in names}})

    def is_same_work(self, other: Fingerprint) -> bool:
        """True when what the other attempt saved may be gone on from: all but the notebook's text is equal."""
        return self.model_copy(update={"cells": other.cells}) == other

    def is_same_code(self, other: Fingerprint) -> bool:
        """True when what holds what it was made for may be gone on from: the library and its packages are equal."""
        return (self.library, self.versions) == (other.library, other.versions)


def take(notebook: Path, parameters: dict[str, Any], inputs: Iterable[Path], package: Path = PACKAGE) -> Fingerprint:
    """Take the fingerprint of a stage as it stands on disk."""
    sources = code_cells(notebook)
    files: dict[str, str] = {}  # several of one name (the adapters of several rounds) are one input
    for path in dict.fromkeys([*inputs, *_named_files(parameters.values(), notebook.parent)]):
        files[path.name] = files.get(path.name, "") + digest(files_of(path), path.parent)
    return Fingerprint(
        library=library_digest(sources, package),
        parameters=parameters,
        inputs=files,
        versions=versions(),
        cells=text_digest(sources),
    )


def changed_parts(old: Fingerprint, new: Fingerprint) -> list[str]:
    """Name what differs, in a reader's words."""
    names = {"library": "maro_lib", "versions": "package versions", "cells": "the notebook's code"}
    before, after = old.model_dump(), new.model_dump()
    parts = [names[part] for part in names if before[part] != after[part]]
    for part in ("parameters", "inputs"):
        every = sorted(before[part].keys() | after[part].keys())
        parts += [name for name in every if before[part].get(name) != after[part].get(name)]
    return parts


def code_cells(notebook: Path) -> list[str]:
    """Return the source of a notebook's code cells; outputs and prose decide nothing."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]


def library_digest(sources: list[str], package: Path = PACKAGE) -> str:
    """Hash what of the library some code reaches."""
    return digest(library_files(sources, package), package)


def library_files(sources: list[str], package: Path = PACKAGE) -> list[Path]:
    """Return the package's data and the modules that some code reaches by import, also by rooms and through others."""
    modules = {".".join(p.relative_to(package.parent).with_suffix("").parts): p for p in package.rglob("*.py")}
    reached: set[str] = set()
    waiting = {f"{package.name}.__init__"}.union(*(_imports(source, modules) for source in sources))
    while waiting := waiting - reached:
        reached |= waiting
        waiting = set().union(*(_imports(modules[name].read_text(encoding="utf-8"), modules) for name in waiting))
    data = [p for p in package.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".py"]
    return [modules[name] for name in sorted(reached)] + sorted(data)


def files_of(path: Path) -> list[Path]:
    """Return a file, or every file of a folder except hidden ones (temporary, or a lock)."""
    if path.is_file():
        return [path]
    return sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))


def digest(files: Iterable[Path], root: Path) -> str:
    """Hash files: their names below `root`, and what they hold."""
    total = hashlib.blake2b(digest_size=16)
    for path in files:
        total.update(f"{path.relative_to(root)}\0".encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def output_digest(run: str, name: str) -> str:
    """Hash what a run's file or folder holds; empty when it is not there."""
    path = run_folder(run) / name
    return digest(files_of(path), path.parent) if path.exists() else ""


def _imports(source: str, modules: Mapping[str, Path]) -> set[str]:
    """Return the modules that some code imports, also inside functions; a name that a room offers is its module."""
    try:
        nodes = _import_nodes(source)
    except SyntaxError:  # a cell with a magic, or a broken one: rather too many modules than one too few
        words = set(re.findall(r"\w+", source))
        return {name for name in modules if name.rpartition(".")[2] in words}
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif node.module:
            room = modules.get(f"{node.module}.__init__")
            places = offers(room.read_text(encoding="utf-8")) if room else {}
            found |= {node.module, *(places.get(n.name, f"{node.module}.{n.name}") for n in node.names)}
    return found & modules.keys()


@cache  # the stages of a series reach much the same modules
def _import_nodes(source: str) -> list[ast.Import | ast.ImportFrom]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


def _named_files(values: Iterable[Any], folder: Path) -> Iterator[Path]:
    """Yield the files that parameters name (a script of the user's own), as the notebook would find them."""
    for value in values:
        if isinstance(value, list):
            yield from _named_files(value, folder)
        elif isinstance(value, str) and "/" in value and value.strip("./"):
            yield from (at for at in [located(value, folder)] if os.path.exists(at))


def text_digest(parts: Sequence[str]) -> str:
    return hashlib.blake2b(json.dumps(list(parts)).encode(), digest_size=16).hexdigest()
