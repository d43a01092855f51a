"""What a stage depends on: no more than it reads, no less."""

import json
from pathlib import Path

import pytest

from maro_lib.fingerprints import changed_parts, library_files, take

PACKAGE = {
    "__init__.py": "",
    "games.py": "from package.dice import roll",
    "dice.py": "import random",
    "loss.py": "def later():\n    import package.games",
    "cases/a.yaml": "title: a",
    "room/__init__.py": "if TYPE_CHECKING:\n    from package.room.table import sit",
    "room/table.py": "from package import dice",
}


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "package"
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def notebook(tmp_path) -> Path:
    return write_notebook(tmp_path / "02_rollout.ipynb", "x = 1")


def write_notebook(path: Path, source: str, outputs: tuple = (), prose: str = "") -> Path:
    cells = [
        {"cell_type": "code", "metadata": {}, "source": source, "outputs": list(outputs)},
        {"cell_type": "markdown", "metadata": {}, "source": prose},
    ]
    path.write_text(json.dumps({"cells": cells}))
    return path


def names(package: Path, *sources: str) -> list[str]:
    return [str(p.relative_to(package)) for p in library_files(list(sources), package)]


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import numpy", ["__init__.py"]),
        ("from package.games import play", ["__init__.py", "dice.py", "games.py"]),
        ("from package import dice, games as g", ["__init__.py", "dice.py", "games.py"]),
        ("import package.loss", ["__init__.py", "dice.py", "games.py", "loss.py"]),
        ("%matplotlib inline\nfrom package import dice", ["__init__.py", "dice.py"]),
        ("from other.dice import roll", ["__init__.py"]),
        ("from package.room import sit", ["__init__.py", "dice.py", "room/table.py"]),
        ("from package.room.table import sit", ["__init__.py", "dice.py", "room/table.py"]),
    ],
)
def test_library_is_followed_by_import_and_no_further(package, source, modules):
    assert names(package, source) == [*modules, "cases/a.yaml"]


def test_outputs_and_prose_change_nothing(notebook):
    old = take(notebook, {}, [])
    write_notebook(notebook, "x = 1", outputs=({"text": "1"},), prose="explained")
    assert changed_parts(old, take(notebook, {}, [])) == []


def test_code_parameters_and_inputs_are_named_when_they_change(notebook, tmp_path):
    (tmp_path / "rollout").mkdir()
    (tmp_path / "rollout" / "shard").write_text("a")
    old = take(notebook, {"n": 1, "seed": 2}, [tmp_path / "rollout"])
    (tmp_path / "rollout" / "shard").write_text("b")
    write_notebook(notebook, "x = 2")
    new = take(notebook, {"n": 1, "seed": 3}, [tmp_path / "rollout"])
    assert changed_parts(old, new) == ["the notebook's code", "seed", "rollout"]


def test_file_moved_within_an_input_counts(notebook, tmp_path):
    (tmp_path / "rollout").mkdir()
    (tmp_path / "rollout" / "shard-0").write_text("a")
    old = take(notebook, {}, [tmp_path / "rollout"])
    (tmp_path / "rollout" / "shard-0").rename(tmp_path / "rollout" / "shard-1")
    assert changed_parts(old, take(notebook, {}, [tmp_path / "rollout"])) == ["rollout"]


def test_file_that_a_parameter_names_counts(notebook, tmp_path):
    (tmp_path / "mine.yaml").write_text("a")
    old = take(notebook, {"scripts": ["./mine.yaml", "bundled"]}, [])
    (tmp_path / "mine.yaml").write_text("b")
    assert changed_parts(old, take(notebook, {"scripts": ["./mine.yaml", "bundled"]}, [])) == ["mine.yaml"]


def test_long_text_is_not_taken_for_a_file(notebook):
    assert take(notebook, {"prompt": "either/or " * 1000}, []).inputs == {}


def test_only_the_notebooks_text_leaves_the_work_the_same(notebook):
    old = take(notebook, {"n": 1}, [])
    other_parameters = take(notebook, {"n": 2}, [])
    write_notebook(notebook, "x = 2")
    assert old.is_same_work(take(notebook, {"n": 1}, []))
    assert not old.is_same_work(other_parameters)


def test_library_change_is_no_longer_the_same_work(package, tmp_path):
    notebook = write_notebook(tmp_path / "02_rollout.ipynb", "from package import dice")
    old = take(notebook, {}, [], package)
    (package / "loss.py").write_text("changed = True")
    assert changed_parts(old, take(notebook, {}, [], package)) == []
    (package / "dice.py").write_text("changed = True")
    assert changed_parts(old, take(notebook, {}, [], package)) == ["maro_lib"]
    assert not old.is_same_work(take(notebook, {}, [], package))
