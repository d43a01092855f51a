"""Notebooks in another language: the code of the English ones, with the prose of docs/zh/<notebook>.yaml.

A cell of prose is translated under its id, with a digest of the English that it translates: a cell whose English has
changed since, or that is not translated yet, stays English and is named. `.venv/bin/python docs/translations.py` builds
docs/zh/*.ipynb, which `python -m maro_lib run params/zh.yaml --notebooks docs/zh` runs like any other series.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from maro_lib.runs import ROOT, write_atomic
from maro_lib.strict_yaml import StrictLoader

FOLDER, ENGLISH = ROOT / "docs" / "zh", ROOT / "notebooks"
LINK = re.compile(r"\]\((?!https?:)([\w./-]+)\)")


class Translated(NamedTuple):
    """A cell's prose, and a digest of the English that it says."""

    of: str
    text: str


def english_digest(cell: dict[str, Any]) -> str:
    return hashlib.blake2b("".join(cell["source"]).encode(), digest_size=4).hexdigest()


def read_translations(path: Path) -> dict[str, Translated]:
    """Read the translated cells of one notebook, by id."""
    cells = yaml.load(path.read_text(encoding="utf-8"), StrictLoader)
    return {name: Translated(str(cell["of"]), cell["text"]) for name, cell in cells.items()}


def built(notebook: dict[str, Any], translations: dict[str, Translated]) -> tuple[dict[str, Any], list[str]]:
    """Return a notebook with its prose translated, without outputs; and the ids of the cells that stay English."""
    notebook, untold = copy.deepcopy(notebook), []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
            continue
        told = translations.get(cell["id"])
        if told is None or told.of != english_digest(cell):
            untold.append(cell["id"])
        else:
            cell["source"] = told.text.splitlines(keepends=True)
        cell["source"] = [LINK.sub(_from_here, line) for line in cell["source"]]
    return notebook, untold


def _from_here(link: re.Match[str]) -> str:
    """A link as it reads in docs/zh: to what is translated beside it, else to where the English ones lie."""
    is_here = (FOLDER / link[1]).with_suffix(".yaml").exists()
    return f"]({link[1]})" if is_here else f"](../../notebooks/{link[1]})"


def build() -> Iterator[tuple[Path, list[str]]]:
    """Write every translated notebook; yield its path and the ids of the cells that stay English."""
    for path in sorted(FOLDER.glob("[0-9][0-9]_*.yaml")):
        english = json.loads((ENGLISH / f"{path.stem}.ipynb").read_text(encoding="utf-8"))
        notebook, untold = built(english, read_translations(path))
        target = path.with_suffix(".ipynb")
        write_atomic(target, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
        yield target, untold


if __name__ == "__main__":
    for target, untold in build():
        print(target.relative_to(ROOT), *(f"  {name}: stays English, translate it again" for name in untold), sep="\n")
