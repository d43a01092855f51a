"""Stages taken over from another run, and sweeps: what trials share is made once, and nothing of it is written again.

The notebooks are those of the series' tests; their cells run in this process, since a kernel each would take a minute.
"""

import json
import shutil
from pathlib import Path

import pytest

from maro_lib.run import series
from maro_lib.run.series import run_series
from maro_lib.runs import RunError, artefact, run_folder
from maro_lib.summary import Stop, peek_summary

FIXTURES = Path(__file__).parent / "fixtures" / "notebooks"


class Kitchen:
    """A folder with notebooks and parameter files, and a count of the stages that were really run."""

    def __init__(self, folder: Path):
        self.folder, self.ran = folder, []
        self.notebooks = folder / "series"
        shutil.copytree(FIXTURES / "good", self.notebooks)

    def execute(self, notebook: Path, target: Path, parameters: dict, run: str) -> Stop | None:
        """Run a notebook's cells as papermill would, in this process."""
        self.ran.append(f"{run} {notebook.stem[:2]}")
        names = {}
        try:
            for cell in json.loads(notebook.read_text())["cells"]:
                if cell["cell_type"] == "code":
                    exec("".join(cell["source"]), names)
                names |= parameters if "parameters" in cell["metadata"].get("tags", ()) else {}
        except Exception as error:
            return Stop(error=f"{type(error).__name__}: {error}")
        shutil.copyfile(notebook, target)
        return None

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run(self, text: str, **options) -> int:
        return run_series(self.file("x.yaml", text), notebooks=str(self.notebooks), **options)

    def edit(self, notebook: str, old: str, new: str) -> None:
        path = self.notebooks / notebook
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def kitchen(tmp_path, monkeypatch) -> Kitchen:
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setattr(series.signal, "signal", lambda *_: None)
    made = Kitchen(tmp_path)
    monkeypatch.setattr(series, "execute", made.execute)
    return made


def held_by(folder: Path) -> dict[str, tuple[bytes, int]]:
    """What a run's files hold, and when they were written; not through links."""
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


# --- from_run ------------------------------------------------------------------------------------------


def test_stages_that_agree_are_taken_over_and_the_others_played_without_touching_the_other_run(kitchen, capsys):
    assert kitchen.run("run: a\n") == 0
    before = held_by(run_folder("a"))
    assert kitchen.run("run: b\nfrom_run: a\ngamma: 0.25\n") == 0
    assert kitchen.ran == ["a 02", "a 03", "a 04", "b 03", "b 04"]
    assert held_by(run_folder("a")) == before
    told = capsys.readouterr().out
    assert "02_rollout: taken over from a" in told
    assert "03_decomposition: running (not taken over from a: differs in gamma)" in told
    assert "04_balancing: running (not taken over from a: differs in credit.parquet)" in told
    assert (run_folder("b") / "rollout").readlink() == Path("../a/rollout")
    assert kitchen.run("run: b\nfrom_run: a\ngamma: 0.25\n") == 0, "the same command once more"
    assert len(kitchen.ran) == 5
    assert peek_summary("b").stages["02_rollout"].taken_from == "a"


def test_what_was_taken_over_is_played_anew_in_a_folder_of_its_own(kitchen):
    kitchen.run("run: a\n")
    before = held_by(run_folder("a"))
    kitchen.run("run: b\nfrom_run: a\n")
    assert kitchen.ran == ["a 02", "a 03", "a 04"]
    assert kitchen.run("run: b\nfrom_run: a\nn_games: 3\n") == 0
    assert kitchen.run("run: b\nfrom_run: a\n", fresh=True) == 0
    assert held_by(run_folder("a")) == before
    assert not (run_folder("b") / "rollout").is_symlink()
    assert len(list((run_folder("b") / "rollout").iterdir())) == 4


def test_who_writes_an_artefact_lets_go_of_the_link_first(kitchen):
    kitchen.run("run: a\n")
    kitchen.run("run: b\nfrom_run: a\n")
    artefact("b", "credit.parquet").write_text("by hand")
    assert (run_folder("a") / "credit.parquet").read_text() != "by hand"


def test_a_stage_that_the_other_run_changed_since_is_played_anew(kitchen, capsys):
    kitchen.run("run: a\n")
    kitchen.run("run: b\nfrom_run: a\n")
    kitchen.run("run: a\ngamma: 0.125\n")
    assert kitchen.run("run: b\nfrom_run: a\n") == 0
    assert kitchen.ran[-2:] == ["b 03", "b 04"]
    assert "not as it left it: credit.parquet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "problem"),
    [("aa", r"outputs/aa/summary.json is missing, so there is no run 'aa' yet; did you mean 'a'"),
     ("b", "'b' is the run itself"), ("..", "can't name a folder")],
)  # fmt: skip
def test_from_run_must_name_another_run(kitchen, capsys, source, problem):
    kitchen.run("run: a\n", only="02")
    assert kitchen.run(f"run: b\nfrom_run: {source}\n") == 1
    with pytest.raises(RunError, match=problem):
        raise RunError(capsys.readouterr().err)


def test_a_run_that_is_in_use_is_not_read(kitchen, capsys):
    kitchen.run("run: a\n")
    with series.held("a"):
        assert kitchen.run("run: b\nfrom_run: a\n") == 1
    assert "outputs/a is in use by process" in capsys.readouterr().err
    with series.reading("a"), series.reading("a"), pytest.raises(RunError, match="in use"), series.held("a"):
        pass
