"""The series runner, run as users run it: a process of its own, on small series named after what they provoke."""

import contextlib
import copy
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import wait_for

from maro_lib.fingerprints import Fingerprint
from maro_lib.run.arrangement import choose, find_notebooks, opening, plan
from maro_lib.run.series import kept_by
from maro_lib.runs import ROOT, STAGES, RunError
from maro_lib.summary import Stop, Summary, peek_summary, read_summary, write_summary
from maro_lib.wording import duration

FIXTURES = Path(__file__).parent / "fixtures" / "notebooks"


class Place:
    """A folder with a series of notebooks, a parameter file and outputs."""

    patience = 180

    def __init__(self, folder: Path, series: str):
        self.folder, self.notebooks = folder, folder / "series"
        self.kernels: dict[str, str] = {}  # the environment of those that start at once; not for who is killed
        shutil.copytree(FIXTURES / series, self.notebooks)
        self.set("run: cpu\n")

    def set(self, text: str) -> None:
        (self.folder / "x.yaml").write_text(text)

    def command(self, *options: str) -> list[str]:
        return [sys.executable, "-m", "maro_lib", "run", "x.yaml", "--notebooks", "series", *options]

    @property
    def environment(self) -> dict[str, str]:
        own = {"MARO_OUTPUTS": str(self.folder / "outputs"), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**os.environ, **self.kernels, **own}

    def copied(self, folder: Path) -> "Place":
        """A copy of all of it, to change something in."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        place = copy.copy(self)
        place.folder, place.notebooks = folder, folder / "series"
        return place

    def run(self, *options: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*options), cwd=self.folder, env=self.environment, capture_output=True, text=True,
            timeout=self.patience,
        )  # fmt: skip

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen]:
        # A process started in the background of a shell may ignore Ctrl-C; one at a terminal does not.
        environment = {name: value for name, value in self.environment.items() if name not in self.kernels}
        process = subprocess.Popen(
            self.command(), cwd=self.folder, env=environment, text=True, stderr=subprocess.PIPE,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def made(self, name: str) -> Path:
        return self.folder / "outputs" / "cpu" / name

    def summary(self) -> dict:
        return json.loads(self.made("summary.json").read_text())

    def statuses(self) -> list[str]:
        return [stage["status"] for stage in self.summary()["stages"].values()]

    def edit(self, notebook: str, old: str, new: str) -> None:
        path = self.notebooks / notebook
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture(scope="module")
def finished(kernels, tmp_path_factory) -> tuple[Place, subprocess.CompletedProcess]:
    place = Place(tmp_path_factory.mktemp("finished"), "good")
    place.kernels = kernels
    return place, place.run()


@pytest.fixture
def again(finished, tmp_path) -> Place:
    """A copy of a finished run, to change something in."""
    return finished[0].copied(tmp_path)


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> tuple[Place, str]:
    """A run in a terminal, of a notebook with a bar; and what the terminal was sent."""
    place = Place(tmp_path_factory.mktemp("watched"), "good")
    path = place.notebooks / "02_rollout.ipynb"
    notebook = json.loads(path.read_text())
    notebook["cells"][2]["source"] += ["\nfrom maro_lib.progress import Bar"]
    notebook["cells"][3]["source"] += ["\nwith Bar(4, 'game', shown=True, mininterval=0) as bar:\n    bar.update(3)"]
    path.write_text(json.dumps(notebook))
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        place.command("--only", "02"), cwd=place.folder, env=place.environment, stdout=end, stderr=end
    )
    os.close(end)
    sent = b""
    with contextlib.suppress(OSError):  # the terminal's other end is closed
        while some := os.read(terminal, 4096):
            sent += some
    assert process.wait(60) == 0, sent.decode()
    os.close(terminal)
    return place, sent.decode()


# --- a run that succeeds ---------------------------------------------------------------------------


def test_series_makes_everything_and_says_where(finished):
    place, done = finished
    assert done.returncode == 0, done.stderr
    assert "[3/3] 04_balancing: done in" in done.stdout
    assert place.made("training.parquet").read_text() == "[1.0, 0.5, 0.25, 0.125]['game-0', 'game-1']"
    for path in ("rollout", "credit.parquet", "training.json", "03_decomposition.ipynb", "summary.json"):
        assert f"\n  outputs/cpu/{path}" in done.stdout
        assert place.made(path).exists()


def test_a_long_cell_shows_its_bar_in_the_terminal_and_keeps_nothing_of_it(watched):
    place, sent = watched
    assert "3/4" in sent
    assert "game" in sent
    cells = json.loads(place.made("02_rollout.ipynb").read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert {output["output_type"] for output in outputs} == {"stream"}, (
        "what a notebook in view would show is not there"
    )
    assert not "".join(t for o in outputs if o["name"] == "stderr" for t in o["text"]).strip()


def test_series_ends_with_the_headline_numbers(finished):
    rows = [line.split() for line in finished[1].stdout.splitlines()]
    assert ["summed", "credit", "1.875"] in [row[2:] for row in rows]
    assert ["mean", "of", "nothing", "n/a"] in rows


def test_summary_says_what_was_run_on_what(finished):
    summary = finished[0].summary()
    values = {"run": "cpu", "from_run": "", "n_games": 4, "seed": 1, "gamma": 0.5, "keep": ["game-0", "game-1"]}
    assert summary["parameters"] == values
    assert summary["versions"]["python"] == sys.version.split()[0]
    assert summary["git"].keys() == {"commit", "dirty"}
    stage = summary["stages"]["03_decomposition"]
    assert stage["status"] == "ran"
    assert stage["seconds"] > 0
    assert stage["headline"] == {"summed credit": 1.875, "mean of nothing": None}


def test_nothing_changed_means_nothing_runs(again):
    shutil.copytree(again.folder / "outputs", again.folder / "copied")  # new dates, same contents
    shutil.rmtree(again.folder / "outputs")
    shutil.copytree(again.folder / "copied", again.folder / "outputs")
    done = again.run()
    assert done.stdout.count("skipped, nothing has changed") == 3
    assert again.statuses() == ["skipped"] * 3
    assert "1.875" in done.stdout  # the headline of the time it ran
    assert done.returncode == 0


def test_changed_parameter_runs_its_stage_and_what_depends_on_it(again):
    again.set("run: cpu\ngamma: 1.0\n")
    done = again.run()
    assert again.statuses() == ["skipped", "ran", "ran"]
    assert "03_decomposition: running (changed: gamma)" in done.stdout
    assert "04_balancing: running (changed: credit.parquet)" in done.stdout
    assert again.made("credit.parquet").read_text() == "[1.0, 1.0, 1.0, 1.0]"


def test_changed_code_with_the_same_result_runs_nothing_after_it(again):
    again.edit("03_decomposition.ipynb", "gamma**i for i in", "1.0 * gamma**i for i in")
    done = again.run()
    assert again.statuses() == ["skipped", "ran", "skipped"]
    assert "running (changed: the notebook's code)" in done.stdout


def test_changed_prose_runs_nothing(again):
    again.edit("04_balancing.ipynb", "Which games may teach?", "Which games may teach us?")
    again.run("--only", "4")
    assert again.statuses()[2] == "skipped"


def test_damaged_artefact_is_made_again(again):
    again.made("rollout/game-2.txt").write_text("damaged")
    done = again.run()
    assert again.statuses() == ["ran", "skipped", "skipped"]
    assert "02_rollout: running (not as it left it: rollout)" in done.stdout
    assert again.made("rollout/game-2.txt").read_text() == "game 2 of seed 1\n"


def test_artefacts_of_other_parameters_are_not_built_upon(again):
    again.set("run: cpu\nn_games: 2\n")
    done = again.run("--only", "02")
    assert sorted(os.listdir(again.made("rollout"))) == ["game-0.txt", "game-1.txt"]
    assert len(os.listdir(again.made("rollout.other-1"))) == 4  # a folder that knows what it was made for
    assert again.made("before/gamebook.json").exists()
    assert "the old outputs/cpu/gamebook.json is kept as outputs/cpu/before/gamebook.json" in done.stdout


def test_what_knows_what_it_was_made_for_is_gone_on_from(again):
    games = {path: path.stat().st_ino for path in again.made("rollout").iterdir()}
    again.set("run: cpu\nn_games: 6\n")
    done = again.run("--only", "02")
    assert "running (changed: n_games)" in done.stdout
    assert games.items() < {path: path.stat().st_ino for path in again.made("rollout").iterdir()}.items()
    assert not again.made("before/rollout").exists()


def test_only_the_same_code_goes_on_from_what_was_made():
    old = Fingerprint(library="a", parameters={"n": 1}, inputs={"rollout": "a"}, versions={"torch": "2"}, cells="a")

    def kept(**changed):
        return kept_by(old, old.model_copy(update=changed), "05_maro_training")

    assert kept(cells="b") == STAGES["05_maro_training"].writes
    for differs in ({"parameters": {"n": 2}}, {"inputs": {"rollout": "b"}}):
        assert set(kept(**differs)) == {"learning", "control", "references", "matches"}
    for differs in ({"library": "b"}, {"versions": {"torch": "3"}}):
        assert kept(**differs) == ()


def test_fresh_runs_what_has_not_changed_from_nothing(again):
    done = again.run("--fresh", "--only", "02")
    assert "[1/1] 02_rollout: done in" in done.stdout
    assert len(os.listdir(again.made("before/rollout"))) == 4


def test_from_leaves_out_the_stages_before(again):
    done = again.run("--from", "03")
    assert "02_rollout" not in done.stdout.split("Made:")[0]
    assert "[1/2] 03_decomposition: skipped" in done.stdout


@pytest.mark.parametrize(
    "text", ['{"run": "cpu", "stages": {"02_rollout": 1}}', '{"run": "cpu", "more": 1}', "[" * 9_999]
)
def test_a_summary_that_holds_something_else_is_damaged(tmp_path, monkeypatch, text):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    path = tmp_path / "outputs" / "cpu" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RunError, match=r"^outputs/cpu/summary\.json: is damaged \(.*run again the stage that made it"):
        peek_summary("cpu")
    assert read_summary("cpu") == (Summary(run="cpu"), path.with_name("summary.damaged.json"))


def test_a_copied_summary_says_where_the_copy_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    (tmp_path / "outputs" / "cpu").mkdir(parents=True)
    stop = Stop(
        error="x", stage="round_2/03_decomposition", notebook="outputs/cpu/round_2/03_decomposition.ipynb", cell=2
    )
    write_summary(Summary(run="cpu", stopped=stop))
    assert peek_summary("cpu").stopped == stop
    shutil.copytree(tmp_path / "outputs" / "cpu", tmp_path / "outputs" / "x")
    assert peek_summary("x").stopped.notebook == "outputs/x/round_2/03_decomposition.ipynb"


def test_damaged_summary_is_set_aside_and_everything_runs_again(again):
    text = again.made("summary.json").read_text()
    again.made("summary.json").write_text(text[: len(text) // 2])
    done = again.run("--only", "02")
    assert "outputs/cpu/summary.json is damaged; kept as outputs/cpu/summary.damaged.json" in done.stdout
    assert again.made("summary.damaged.json").read_text() == text[: len(text) // 2]
    assert again.statuses() == ["ran"]


def test_papermill_by_hand_makes_the_same_artefact(again):
    again.set("run: cpu\nn_games: 3\nseed: 7\n")
    again.run("--only", "02")
    by_hand = {**again.environment, "MARO_OUTPUTS": str(again.folder / "by_hand")}
    command = [sys.executable, "-m", "papermill", "series/02_rollout.ipynb", "out.ipynb", "-f", "x.yaml"]
    subprocess.run([*command, "--no-progress-bar"], cwd=again.folder, env=by_hand, check=True, capture_output=True)
    for name in ("rollout/game-0.txt", "rollout/game-2.txt", "02_rollout.json"):
        assert (again.folder / "by_hand" / "cpu" / name).read_bytes() == again.made(name).read_bytes()
    assert len(os.listdir(again.folder / "by_hand" / "cpu" / "rollout")) == 3


# --- a run that does not ---------------------------------------------------------------------------


def test_failure_says_its_cause_then_its_notebook_and_no_source(tmp_path):
    place = Place(tmp_path, "failing_cell")
    done = place.run()
    assert done.returncode == 1
    assert done.stderr.strip().splitlines() == [
        "ValueError: 5 seats, but six players",
        "02_rollout stopped in outputs/cpu/02_rollout.ipynb, cell In [4]",  # 2 is what was injected
        "The report says so too: outputs/cpu/report.html",
    ]
    assert "before it fails" in place.made("02_rollout.ipynb").read_text()
    assert place.statuses() == ["failed"]


def test_a_report_is_written_of_a_failure_and_no_older_one_stays_beside_it(again):
    again.made("report.html").write_text("the one of the time before")
    again.edit("03_decomposition.ipynb", "gamma**i", "gamma**i / 0")
    assert again.run().returncode == 1
    assert "the one of the time before" not in again.made("report.html").read_text()
    assert "ZeroDivisionError" in again.made("report.html").read_text()
    stopped = again.summary()["stopped"]
    assert (stopped["stage"], stopped["notebook"]) == ("03_decomposition", "outputs/cpu/03_decomposition.ipynb")
    assert stopped["error"].startswith("ZeroDivisionError")
    again.edit("03_decomposition.ipynb", "gamma**i / 0", "gamma**i")
    assert again.run().returncode == 0
    assert again.summary()["stopped"] is None
    assert "ZeroDivisionError" not in again.made("report.html").read_text()


def test_report_is_written_again_only_when_something_changed(again):
    again.made("report.html").write_text("as it was")
    done = again.run()
    assert again.made("report.html").read_text() == "as it was"
    assert "Read all of it in outputs/cpu/report.html" in done.stdout
    again.set("run: cpu\ngamma: 1.0\n")
    again.run()
    assert again.made("report.html").read_text() != "as it was"


def test_a_copied_run_leaves_its_original_alone(again):
    before = {path: path.read_bytes() for path in again.made("").rglob("*") if path.is_file()}
    copy = shutil.copytree(again.made(""), again.folder / "outputs" / "x")
    (copy / ".summary.json.99.tmp").write_text('{"run":')
    again.set("run: x\nn_games: 3\n")
    done = again.run()
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in again.made("").rglob("*") if path.is_file()} == before
    copied = json.loads((again.folder / "outputs" / "x" / "summary.json").read_text())
    assert (copied["run"], copied["parameters"]["n_games"]) == ("x", 3)
    assert [*copy.glob(".*.tmp")] == [], "what was left half-written goes"


def test_series_stops_at_the_first_failure(again):
    again.edit("03_decomposition.ipynb", "gamma**i", "gamma**i / 0")
    done = again.run("--fresh", "--from", "03")
    assert "ZeroDivisionError" in done.stderr
    assert "04_balancing" not in done.stdout
    assert again.statuses() == ["ran", "failed", "ran"]
    assert not again.made("03_decomposition.json").exists()  # the proof of the time before
    later = again.run("--only", "04")
    assert "outputs/cpu/credit.parquet is missing; notebook 03_decomposition makes it: make run ONLY=03" in later.stderr


def test_killed_kernel_is_a_failure_at_its_cell(tmp_path):
    place = Place(tmp_path, "killed_kernel")
    done = place.run()
    assert done.returncode == 1
    assert done.stderr.strip().startswith("DeadKernelError")
    assert "02_rollout stopped in outputs/cpu/02_rollout.ipynb, cell In [4]" in done.stderr
    assert place.statuses() == ["failed"]


def test_notebook_that_does_not_finish_is_a_failure(tmp_path):
    place = Place(tmp_path, "unfinished")
    done = place.run()
    assert done.returncode == 1
    assert "it ended without calling `finish(run, '02_rollout', headline)`" in done.stderr
    assert "stops in series" in place.made("02_rollout.ipynb").read_text()  # the notebooks' folder, as in JupyterLab


def test_missing_input_names_the_command_and_runs_nothing(tmp_path):
    place = Place(tmp_path, "good")
    done = place.run("--only", "03")
    assert done.returncode == 1
    assert "outputs/cpu/rollout is missing; notebook 02_rollout makes it: make run ONLY=02" in done.stderr
    assert not place.made("03_decomposition.ipynb").exists()


def test_mistaken_parameter_file_runs_nothing(tmp_path):
    place = Place(tmp_path, "good")
    place.set("run: cpu\nn_gamse: 5\ngamma: 1e-4\n")
    done = place.run()
    assert done.returncode == 1
    assert "x.yaml:2: unknown name `n_gamse`; did you mean 'n_games'?" in done.stderr
    assert "x.yaml:3: `gamma` must be float, got '1e-4' (str); YAML reads this as text, write 1.0e-4" in done.stderr
    assert not (place.folder / "outputs").exists()


def test_what_cant_be_meant_is_refused_before_anything_runs(tmp_path):
    place = Place(tmp_path, "good")
    place.set("run: cpu\nculprits: 4\nadapter: ./none\n")
    python, *command = place.command()[:5]  # the real notebooks
    done = subprocess.run([python, "-X", "importtime", *command], cwd=place.folder, env=place.environment,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 1
    for problem in ("culprits: 4", "./none: there is no such folder"):
        assert problem in done.stderr
    assert not (place.folder / "outputs").exists()
    loaded = re.findall(r"^import time:.*\| +(\w+)$", done.stderr, re.MULTILINE)
    assert "maro_lib" in loaded
    assert not {"torch", "transformers"} & set(loaded), "a refusal waits for no model library"


def test_a_name_of_a_sweeps_trial_is_refused(tmp_path):
    place = Place(tmp_path, "good")
    place.set("run: cpu/other\n")
    with pytest.raises(RunError, match=r"x\.yaml: run: 'cpu/other' is what a sweep calls a trial"):
        plan(place.folder / "x.yaml", "", "", place.notebooks)


def test_only_what_the_chosen_stages_declare_is_looked_at(tmp_path):
    place = Place(tmp_path, "good")
    place.set("run: cpu\nmodel: nowhere\n")
    with pytest.raises(RunError, match="model: nowhere: there is no such folder"):
        plan(place.folder / "x.yaml", "02", "", ROOT / "notebooks")
    assert plan(place.folder / "x.yaml", "03", "", ROOT / "notebooks").steps[0].name == "03_decomposition"


def test_set_takes_the_place_of_a_files_value(again):
    done = again.run("--set", "n_games=3", "seed=2", "--only", "02")
    assert again.summary()["parameters"]["n_games"] == 3
    assert "running (changed: n_games, seed)" in done.stdout


def test_first_line_says_what_runs_where_and_how_long(finished, tmp_path, monkeypatch):
    assert finished[1].stdout.startswith("x.yaml -> outputs/cpu: 3 stages (02 03 04), how long is not known;")
    monkeypatch.setenv("MARO_OUTPUTS", str(finished[0].folder / "outputs"))
    series = plan(finished[0].folder / "x.yaml", "", "", finished[0].notebooks)
    seconds = sum(stage["seconds"] for stage in finished[0].summary()["stages"].values())
    assert opening(series).endswith(f"(02 03 04), {duration(seconds)} the last time")
    head = "# A trial.\n# Takes 5 to 20 minutes on two cores; ONLY=03 takes 1 to 2 minutes.\n"
    (tmp_path / "new.yaml").write_text(f"{head}run: new\n")
    said = {n: opening(plan(tmp_path / "new.yaml", n, "", finished[0].notebooks)) for n in ("", "02", "03")}
    assert said[""].endswith(", 5 to 20 minutes on two cores")
    assert "not known" in said["02"]
    assert said["03"].endswith(", 1 to 2 minutes")


def test_unwritable_outputs_are_a_clear_error(tmp_path):
    place = Place(tmp_path, "good")
    (tmp_path / "outputs").write_text("a file where the folder should be")
    done = place.run()
    assert done.returncode == 1
    assert "outputs/cpu: can't be written (Not a directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_one_run_at_a_time_and_ctrl_c_loses_nothing(tmp_path):
    place, spent = Place(tmp_path, "endless"), []
    for n_saved, stop, to_all in ((1, signal.SIGINT, False), (2, signal.SIGTERM, False), (3, signal.SIGTERM, True)):
        with place.started() as first:
            wait_for(lambda n=n_saved: len(list(place.made("rollout").glob("*"))) == n, 120)
            assert not place.made("report.html").exists(), "the one of the attempt before tells nothing of this one"
            second = place.run()
            os.killpg(first.pid, stop) if to_all else first.send_signal(stop)  # a batch system tells every process
            _, errors = first.communicate(timeout=120)
        assert second.returncode == 1
        assert f"outputs/cpu is in use by process {first.pid}, started" in second.stderr
        assert first.returncode == 130
        assert "Interrupted." in errors
        assert "Traceback" not in errors
        assert place.summary()["stages"]["02_rollout"]["error"] == "interrupted"
        assert "interrupted" in place.made("report.html").read_text()
        spent.append(place.summary()["stages"]["02_rollout"]["seconds"])
    assert spent == sorted(spent), "what a stage cost is the time of all attempts that it went on from"
    assert spent[2] - spent[1] > 0.5, "of a kernel's start"
    # each attempt went on from what the one before had saved
    assert sorted(os.listdir(place.made("rollout"))) == ["game-0.txt", "game-1.txt", "game-2.txt"]


# --- what is chosen --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "start", "chosen"),
    [
        ("", "", ["02", "03", "04"]),
        ("02,04", "", ["02", "04"]),
        ("4, 2", "", ["02", "04"]),
        ("", "3", ["03", "04"]),
        ("02,04", "03", ["04"]),
    ],
)
def test_only_and_from_choose(only, start, chosen):
    assert [path.name[:2] for path in choose(find_notebooks(FIXTURES / "good"), only, start)] == chosen


@pytest.mark.parametrize(("only", "start"), [("02,09", ""), ("", "9"), ("rollout", ""), ("02", "03")])
def test_choosing_what_is_not_there_is_an_error(only, start):
    with pytest.raises(RunError, match=r"02_rollout, 03_decomposition|nothing to run"):
        choose(find_notebooks(FIXTURES / "good"), only, start)


def test_notebook_unknown_to_the_table_is_refused(tmp_path):
    shutil.copy(FIXTURES / "good" / "02_rollout.ipynb", tmp_path / "99_mine.ipynb")
    with pytest.raises(RunError, match="add '99_mine' to STAGES"):
        find_notebooks(tmp_path)
    with pytest.raises(RunError, match="holds no notebook"):
        find_notebooks(tmp_path / "none")


def test_command_without_a_word_prints_the_help():
    done = subprocess.run([sys.executable, "-m", "maro_lib"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "run the notebooks with a parameter file" in done.stdout
