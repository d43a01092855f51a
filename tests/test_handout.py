"""The reader's copies hold no answer, lose nothing else, and all answers stand in one file."""

import ast
import json

import pytest
from handout import for_readers, write_handout

from maro_lib.runs import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def text_of(cell):
    return "".join(cell["source"])


def names_in(trees, use):
    return {n.id for tree in trees for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, use)}


@pytest.fixture(scope="module")
def handout(tmp_path_factory):
    folder = tmp_path_factory.mktemp("handout")
    write_handout(folder)
    return folder


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_copy_has_no_answer_and_all_answers_are_in_one_file(handout, path):
    notebook, copy = (json.loads((folder / path.name).read_text()) for folder in (path.parent, handout))
    answers = [text_of(c) for c in notebook["cells"] if "solution" in c["metadata"].get("tags", ())]
    assert answers
    told, solutions = "\n".join(map(text_of, copy["cells"])), (handout / "solutions.md").read_text()
    assert not any(answer in told for answer in answers)
    assert "<summary>Answer" not in told
    assert all(answer in solutions for answer in answers)
    assert len(copy["cells"]) == len(notebook["cells"]) - len(answers)
    assert not any(c.get("outputs") for c in copy["cells"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_nothing_that_a_copy_uses_was_made_in_an_answer(path):
    notebook = json.loads(path.read_text())
    trees = [ast.parse(text_of(c)) for c in notebook["cells"] if "solution" in c["metadata"].get("tags", ())]
    made = names_in(trees, ast.Store)
    kept = [ast.parse(text_of(c)) for c in for_readers(notebook)["cells"] if c["cell_type"] == "code"]
    stored, loaded = names_in(kept, ast.Store), names_in(kept, ast.Load)
    assert not (made - stored) & loaded


def test_every_exercise_stands_with_its_answer(handout):
    solutions = (handout / "solutions.md").read_text()
    assert solutions.count("\n## ") == len(NOTEBOOKS)
    assert "**1 · A tie**" in solutions
    assert solutions.index("**1 · A tie**") < solutions.index("A tie accuses nobody")
