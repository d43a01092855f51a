"""The Chinese walk through notebooks 01 to 03: the code, formulas and links of the English one, and every cell told."""

import json
import re

import pytest
from test_house_rules import one_parameter_cell, solutions_folded, title_and_question
from translations import ENGLISH, FOLDER, Translated, build, built, english_digest, read_translations

from maro_lib.__main__ import main
from maro_lib.runs import run_folder

FILES = sorted(FOLDER.glob("*.yaml"))
KEPT = {  # what a translation keeps as it is
    "code": r"`[^`]+`",
    "formulas": r"\$\$.+?\$\$|\$[^$]+\$",
    "links": r"\]\([^)]+\)",
    "folds": r"</?(?:details|summary)>",
    "headings": r"^#+ (?:\d+ ·)?",
    "pictures": r"!\[",
    "numbers": r"(?<![\w.])-?\d+\.\d+",
}


def english(path):
    return json.loads((ENGLISH / f"{path.stem}.ipynb").read_text(encoding="utf-8"))


def prose(path):
    """The English and the Chinese of each cell."""
    told = read_translations(path)
    for cell in english(path)["cells"]:
        if cell["cell_type"] == "markdown":
            yield "".join(cell["source"]), told[cell["id"]].text


def test_the_first_three_notebooks_are_there():
    assert [path.stem for path in FILES] == ["01_environment", "02_rollout", "03_decomposition"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_cell_of_prose_is_told_as_it_stands_and_no_other(path):
    notebook, untold = built(english(path), told := read_translations(path))
    assert untold == [], "their English has changed: translate them again, and note its digest"
    assert {*told} == {cell["id"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_code_is_that_of_the_english_one(path):
    cells = zip(english(path)["cells"], built(english(path), read_translations(path))[0]["cells"], strict=True)
    assert all(a["source"] == b["source"] for a, b in cells if a["cell_type"] == "code")


@pytest.mark.parametrize("what", KEPT)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translation_keeps(path, what):
    pattern = re.compile(KEPT[what], re.MULTILINE | re.DOTALL)
    for before, after in prose(path):
        counted = [len(pattern.findall(text)) if what == "formulas" else sorted(set(pattern.findall(text)))
                   for text in (before, after)]  # fmt: skip
        assert counted[0] == counted[1], after[:60]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_translated_notebook_keeps_the_rules_of_prose(path):
    notebook = built(english(path), read_translations(path))[0]
    for rule in (title_and_question, solutions_folded, one_parameter_cell):
        assert not list(rule(notebook))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_bold_and_italics_are_seen_in_chinese(path):
    """Markdown closes neither after a full-width sign that a letter follows: the asterisks would stay."""
    markdown = pytest.importorskip("markdown_it").MarkdownIt()
    for _, text in prose(path):
        page = markdown.render(re.sub(KEPT["formulas"], "", text, flags=re.DOTALL))
        assert "*" not in re.sub("<code>.*?</code>", "", page, flags=re.DOTALL), text[:60]


def test_every_link_of_the_built_notebooks_leads_somewhere():
    for path, _ in [*build()]:  # all first: they lead to one another
        links = re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
        assert links
        assert all((FOLDER / link).exists() for link in links if not link.startswith("http"))


def test_a_cell_whose_english_has_changed_stays_english():
    cell = {"cell_type": "markdown", "id": "a", "source": ["Hello."]}
    notebook = {"cells": [cell, {"cell_type": "code", "source": ["1"], "outputs": [1], "execution_count": 1}]}
    told = {"a": Translated(english_digest(cell), "你好。")}
    assert built(notebook, told)[0]["cells"][0]["source"] == ["你好。"]
    cell["source"] = ["Good morning."]
    again, untold = built(notebook, told)
    assert (again["cells"][0]["source"], untold) == (["Good morning."], ["a"])
    assert again["cells"][1]["outputs"] == []


@pytest.mark.walk
def test_the_chinese_notebooks_reach_their_end(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    assert len([*build()]) == 3
    few = ["n_games=4", "n_scripts=2", "n_compare=4", "n_counterfactual=2", "n_samples=1"]
    assert main(["run", "params/zh.yaml", "--notebooks", str(FOLDER), "--set", *few]) == 0, capfd.readouterr().err
    assert "谁会赢" in (run_folder("zh") / "02_rollout.ipynb").read_text(encoding="utf-8")
