"""README and docs: what they say is so, and where they point there is something."""

import contextlib
import difflib
import hashlib
import io
import re
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import yaml
from loop import LOOP, SCALE, WIDTH, write_loops
from pages import (
    FIGURE,
    NUMBER,
    ROOMS,
    STUDY_PICTURE,
    TABLE,
    PageError,
    filled_page,
    pages,
    study_picture,
)
from strip import PICTURE, write_game
from test_rooms import ROOMS as ORDER

from maro_lib import __main__ as command_line
from maro_lib.play import SKILLED, play, schedule
from maro_lib.runs import ROOT
from maro_lib.worlds import scenarios

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def by_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# --- figures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", pages(), ids=by_name)
def test_a_page_says_what_its_sources_say(path):
    before = path.read_text()
    changed = difflib.unified_diff(before.splitlines(), filled_page(before).splitlines(), "page", "sources", n=0)
    assert not list(changed), "run `make pages`"


def test_the_readme_shows_the_studys_picture_as_the_notebook_does():
    assert STUDY_PICTURE.read_bytes() == study_picture(), "run `make pages`"


@pytest.mark.parametrize(
    ("said", "so"),
    [("won 18.4 points [12.7, 24.0]<!-- study: MARO, civilian -->", "won 18.3 points [12.7, 24.0]"),
     ("+18 [13, 25]<!-- study: MARO, civilian -->", "+18 [13, 24]"),
     ("from 11<!-- study: MARO, civilian, least --> to 24", "from 12"),
     ("takes 9,999<!-- params: study, n_games --> games", "takes 2,000"),
     ("| 8.4 [4.4, 27.2]<!-- beyond: shuffled labels, civilian --> |", "| 15.8 [4.4, 27.2]"),
     ("31.5 % [25.5, 38.3]<!-- card: civilians win -->", "31.5 % [25.5, 38.2]")],
)  # fmt: skip
def test_a_changed_digit_is_put_right(said, so):
    assert filled_page(said).startswith(so)
    assert filled_page(filled_page(said)) == filled_page(said)


@pytest.mark.parametrize(
    "said",
    ["1<!-- hearsay: MARO -->", "1<!-- study: nobody, civilian -->", "1<!-- card: beauty -->",
     "1<!-- measured: run.seed_0 -->", "1 [0, 2]<!-- card: weights -->", "1<!-- params: study, n_gaems -->",
     "<!-- table: hearsay -->\n<!-- end -->"],
)  # fmt: skip
def test_a_figure_without_a_source_is_refused(said):
    with pytest.raises(PageError):
        filled_page(said)


# What has digits and was not measured: names, versions, places, and the level of all intervals.
NAMES = re.compile(
    r"arXiv \d{4}\.\d{5}|Python 3\.\d+|Apache-2\.0|(?:Qwen|Llama-)[\d.]+(?:-\d+B)?|\b[78]B\b|\b4 bits|24 GB|MATH-500"
    r"|GSM8K|SmolLM2(?:-135M)?(?:-Instruct)?|b?float\d\d|\bz0\b|NF4|95 %\s+intervals?"
    r"|exercise \d|^\| \d \||\b0\d\b|\[1\d\]",
    re.MULTILINE,
)


def unaccounted(text: str) -> list[str]:
    """Find the numbers of a page that come from no source: outside tables that are written, figures, code and names."""
    text = re.sub(r"^```.*?^```", "", TABLE.sub("", text), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]+`", lambda m: m[0] if re.search(rf"^`{NUMBER}.*[%\[]", m[0]) else "", FIGURE.sub("", text))
    text = re.sub(r"(?<=\])\([^)]*\)|https?:\S+", "", text)
    return re.findall(rf"\S*{NUMBER}\S*", NAMES.sub("", text))


@pytest.mark.parametrize("path", pages(), ids=by_name)
def test_every_number_of_a_page_comes_from_somewhere(path):
    assert unaccounted(path.read_text()) == []


@pytest.mark.parametrize(
    "text",
    ["civilians gain 18.3 points", "+6.3 [4.8, 7.9]", "in 26 % of games", "`+6.3 [4.8, 7.9]`", "three of 12 %",
     "11 minutes", "a model of 1.2 million weights", "5 seeds", "| MARO | 18 |", "1<!-- a remark -->"],
)  # fmt: skip
def test_a_number_from_nowhere_is_seen(text):
    assert unaccounted(text)


@pytest.mark.parametrize(
    "text",
    ["see [08](notebooks/08_evidence.ipynb) and [10](notebooks/10_culprits.ipynb), arXiv 2501.14225",
     "`beta: 0.5` and a 7B in 4 bits on a 24 GB card",
     "```\nprint(3)\n```", "12 %<!-- card: where -->", "<!-- table: rooms -->\n| 12 |\n<!-- end -->"],
)  # fmt: skip
def test_a_name_with_digits_is_no_number(text):
    assert not unaccounted(text)


# --- links and commands --------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(path: Path) -> list[str]:
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        place, _, anchor = link.partition("#")
        target = path if not place else path.parent / place
        if not re.match("https?:", link) and (
            not target.exists() or (anchor and anchor not in anchors(target.read_text()))
        ):
            dead.append(link)
    return dead


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_link_leads_somewhere(path):
    assert dead_links(path) == []


def test_a_dead_link_is_seen(tmp_path):
    (tmp_path / "page.md").write_text("# One `two`\n[a](#one-two) [b](#three) [c](gone.md) [d](https://example.org/#x)")
    assert dead_links(tmp_path / "page.md") == ["#three", "gone.md"]


def test_the_readme_leads_to_every_page():
    links = re.findall(r"\]\(([^)#\s]+)", README.read_text())
    assert {by_name(path) for path in PAGES} - {"README.md"} <= set(links)


def commands(text: str) -> list[str]:
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`((?:make|\.venv/bin/python -m maro_lib) [^`]+)`", text)
    return [*inline, *(line for block in blocks for line in block.splitlines())]


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_command_exists(path):
    told = "\n".join(commands(path.read_text()))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", told)) <= targets
    commands_of_help = re.findall(r"^ {4}([a-z]+)\b", command_line.parser().format_help(), re.MULTILINE)
    assert set(re.findall(r"-m maro_lib ([a-z]+)", told)) <= set(commands_of_help)


@pytest.mark.parametrize("path", PAGES, ids=by_name)
def test_every_file_that_a_page_names_exists(path):
    named = set(re.findall(r"`((?:maro_lib|params|tests|docs|notebooks)/[\w./]*)`", path.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_the_readmes_player_plays_and_prints_what_the_readme_says():
    program = re.search(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)[1]
    said = re.search(r"print\(.*\)  # (.+)$", program, re.MULTILINE)[1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(program, {})
    assert printed.getvalue().strip() == said


def written_down(page, folder):
    """Write the files that a page shows (their first line names them); return their names."""
    for block in re.findall(r"^```(?:python|yaml)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        if named := re.match(r"# (\w+\.(?:py|yaml))\b", block):
            (folder / named[1]).write_text(block)
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("page", "files", "world"), [
    (README, ["pond.py"], "pond.py:Pond"),
    (ROOT / "docs" / "how-to.md", ["ultimatum.py", "ultimatum.yaml"], "ultimatum.py:Ultimatum"),
], ids=["readme", "how-to"])  # fmt: skip
def test_a_world_of_ones_own_is_played_and_audited_as_the_page_says(tmp_path, capsys, monkeypatch, page, files, world):
    assert written_down(page, tmp_path) == files
    if world.startswith("pond"):
        shutil.copy(ROOT / "maro_lib/worlds/words/commons.yaml", tmp_path / "pond.yaml")
    monkeypatch.chdir(tmp_path)
    assert command_line.main(["audit", world, "--allow-code", "--games", "40"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"contract +kept", said)
    made = scenarios(world, 2, 0, allow_code=True)
    assert len(play(schedule(made, 10, 0), SKILLED).table("games")) == 10


def test_the_map_has_the_rooms_in_the_order_of_their_imports():
    assert ROOMS == ORDER


# --- what stands beside ------------------------------------------------------------------------------


def test_the_licence_is_the_whole_of_apache_2():
    official = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == official


def test_the_citation_and_the_package_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project
    assert f'license = "{citation["license"]}"' in project
    assert f'name = "{citation["authors"][0]["name"]}"' in project
    assert f"## {citation['version']}" in (ROOT / "CHANGELOG.md").read_text()


def blue(picture: np.ndarray) -> np.ndarray:
    """How much of each fifth of a picture is MARO's blue."""
    is_blue = np.abs(picture[..., :3] - np.array([0, 0x72, 0xB2]) / 255).max(axis=2) < 0.02
    return np.array([part.mean() for part in np.array_split(is_blue, len(LOOP), axis=1)])


def test_the_pictures_of_the_loop_are_drawn_by_code_with_their_stage_lit(tmp_path):
    for drawn in write_loops(tmp_path):
        picture = plt.imread(ROOT / "notebooks" / "images" / drawn.name)
        assert picture.shape[1] == SCALE * WIDTH
        assert np.abs(picture - plt.imread(drawn)).mean() < 0.01, "run `make pages`"
        lit = [stage.name for stage, share in zip(LOOP, blue(picture), strict=True) if share > 0.2]
        assert lit == [stage.name for stage in LOOP if drawn.stem.removeprefix("loop_") in stage.notebooks]


def test_the_picture_of_a_game_is_drawn_by_code(tmp_path):
    drawn = plt.imread(write_game(tmp_path / "game.png"))
    kept = plt.imread(PICTURE)
    assert kept.shape == drawn.shape
    assert np.abs(kept - drawn).mean() < 0.01, "run `make pages`"
