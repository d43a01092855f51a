"""The house: rooms in the order of the data, a small surface each, and nothing heavy behind an open door."""

import ast
import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from maro_lib.rooms import offers
from maro_lib.runs import ROOT

PACKAGE = ROOT / "maro_lib"
# leftmost first
ROOMS = (
    "world",
    "worlds",
    "play",
    "model",
    "embedded",
    "learn",
    "measure",
    "study",
    "show",
    "share",
    "run",
)  # leftmost first
LIGHT = ("world", "worlds", "play", "run")  # opening their names loads no torch


def modules() -> list[Path]:
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.name not in ("__init__.py", "__main__.py")]


def room_of(module: str) -> str:
    """The room of a module's dotted name; empty: what all rooms use."""
    part = [*module.split("."), ""][1]
    return part if part in ROOMS else ""


def imported(source: str) -> set[str]:
    nodes = ast.walk(ast.parse(source))
    return {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module and n.module.startswith("maro_lib")}


def upward(name: str, source: str) -> list[str]:
    """What a module imports from rooms that come after its own."""
    order = ["", *ROOMS]
    mine = order.index(room_of(name))
    return sorted(m for m in imported(source) if order.index(room_of(m)) > mine)


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_imports_between_rooms_go_one_way():
    found = {dotted(p): upward(dotted(p), p.read_text()) for p in modules()}
    assert {name: up for name, up in found.items() if up} == {}


def test_an_arrow_upwards_is_seen():
    assert upward("maro_lib.world.scripts", "def f():\n    from maro_lib.play.rollout import play") == [
        "maro_lib.play.rollout"
    ]
    assert upward("maro_lib.runs", "from maro_lib.world import Script") == ["maro_lib.world"]
    assert upward("maro_lib.play.rollout", "from maro_lib.world import Script\nfrom maro_lib.runs import ROOT") == []


def test_every_folder_is_a_room_and_every_room_is_in_order():
    assert sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py")) == sorted(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_is_for_and_offers_a_few_names_that_are_there(room):
    opened = import_module(f"maro_lib.{room}")
    assert len(opened.__doc__) > 100
    places = offers(Path(opened.__file__).read_text())
    assert 3 <= len(places) <= 16
    assert sorted(places) == opened.__all__ == dir(opened)
    assert all(module.startswith(f"maro_lib.{room}.") for module in places.values()), "a room offers what is its own"
    for name, module in places.items():
        assert getattr(opened, name) is getattr(import_module(module), name)
    assert not {p.stem for p in (PACKAGE / room).glob("*.py")} & set(places), "a module would hide the name"
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = opened.nothing_of_that_name


def public_names(source: str) -> list[str]:
    """What a module defines for others: functions, classes and constants without an underscore before them."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names += [t.id for t in targets if isinstance(t, ast.Name) and t.id[0].isupper()]
    return [name for name in names if not name.startswith("_")]


def namesakes(sources: dict[str, str]) -> dict[str, list[str]]:
    """The names that stand in more than one module, with the modules."""
    places: dict[str, list[str]] = {}
    for module, source in sources.items():
        for name in public_names(source):
            places.setdefault(name, []).append(module)
    return {name: where for name, where in sorted(places.items()) if len(set(where)) > 1}


def test_a_public_name_stands_in_one_module():
    assert namesakes({dotted(p): p.read_text(encoding="utf-8") for p in modules()}) == {}


def test_a_name_that_stands_twice_is_seen():
    one, other = "class A: ...\nKEPT: int = 1\n_B = 2\ndef f(): ...", "def f(): ...\n_B = KEPT = 3\nlocal = A = 4"
    assert namesakes({"one": one, "other": other}) == {
        "A": ["one", "other"], "KEPT": ["one", "other"], "f": ["one", "other"],
    }  # fmt: skip
    assert namesakes({"one": "A = 1\nA = 2", "other": "b = 1\nclass _C: ..."}) == {}


def test_light_rooms_and_a_report_load_no_torch():
    opened = "; ".join(["import maro_lib.show.report", *(f"from maro_lib.{room} import *" for room in LIGHT)])
    code = f"{opened}; import sys, json; print(json.dumps(sorted({{'torch', 'transformers'}} & set(sys.modules))))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(said) == []
