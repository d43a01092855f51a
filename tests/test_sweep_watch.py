"""Looking on while another process sweeps: a real one, whose notebook waits as long as a file is there."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from waiting import wait_for

from maro_lib.fingerprints import Fingerprint
from maro_lib.run.locks import held, reading
from maro_lib.run.remaining import left_in_words, seconds_left
from maro_lib.run.sweep_record import BranchRecord, SweepRecord, write_record
from maro_lib.run.sweep_watch import in_line, is_held, shown_state, sweep_state, watch_sweep
from maro_lib.runs import ROOT, RunError, round_name, run_folder
from maro_lib.summary import StageRecord, Summary, write_summary

NOTEBOOKS = Path(__file__).parent / "fixtures" / "notebooks" / "watched"
WITHOUT_RAY = "import sys; sys.modules['ray'] = None; from maro_lib.run.sweep import run_sweep; sys.exit(run_sweep"
GAMES = "question: How many?\nvalues: {n_games: 4}\ngrid: {n_games: [1, 2]}\nonly: '02'\nmeasures: [02 games]\n"
SECONDS = 120  # that anything may take
NO_FINGERPRINT = Fingerprint(library="", parameters={}, inputs={}, versions={}, cells="")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "which.yaml").write_text(GAMES)
    return tmp_path


@contextlib.contextmanager
def sweeping(folder: Path) -> Iterator[subprocess.Popen]:
    """Start a sweep in another process, and wait until its first notebook waits."""
    (folder / "notes" / "hold").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{WITHOUT_RAY}('which.yaml', notebooks={str(NOTEBOOKS)!r}))"], cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(lambda: (folder / "notes" / "started").exists() or process.poll() is not None, SECONDS)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for line in (folder / "notes" / "started").read_text().splitlines():  # kernels have sessions of their own
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(line.split()[1]), signal.SIGKILL)


def go_on(folder: Path) -> None:
    (folder / "notes" / "hold").unlink()


def test_a_sweep_is_watched_from_another_process_until_it_ends(folder, capsys):
    with sweeping(folder) as process:
        state = sweep_state("which")
        assert in_line(state) == "0 trials done, 1 running, 0 failed, 1 waiting"
        assert state.named("running")[0].about.startswith("02_rollout: ")
        assert state.answer == ["Not known yet: no trial has finished."]
        go_on(folder)
        seen = watch_sweep("which", every=0.05)
        assert process.wait(SECONDS) == 0
    assert repr(seen).startswith("2 trials done, 0 running, 0 failed, 0 waiting: it is over. No cell is shown to ")
    assert "How many?" in seen.html
    said = [line.partition(";")[0] for line in capsys.readouterr().out.splitlines()]
    assert said[0] == "0 trials done, 1 running, 0 failed, 1 waiting"
    assert "1 trial done, 1 running, 0 failed, 0 waiting" in said
    assert all(one != other for one, other in pairwise(said)), "a line is said when something has changed"
    assert not [p for p in (folder / "outputs" / "which").iterdir() if ".tmp" in p.name]


def test_a_notebook_s_cell_ends_with_the_sweep_and_keeps_its_table(folder):
    cells = ["from maro_lib.run import watch_sweep", "watch_sweep('which', every=0.1)"]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    with sweeping(folder):
        client = NotebookClient(book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}})
        client.on_cell_executed = lambda **told: go_on(folder) if told["cell_index"] == 0 else None
        client.execute(env=os.environ | {"PYTHONPATH": str(ROOT)})
    place, table = book.cells[1].outputs
    assert place["data"] == {"text/plain": ""}, "what was drawn anew is gone"
    assert table["output_type"] == "execute_result"
    assert "2 trials done, 0 running, 0 failed, 0 waiting: it is over" in table["data"]["text/html"]


@pytest.mark.walk
def test_a_sweep_that_is_killed_is_seen_to_stand_still(folder):
    with sweeping(folder) as process:
        assert is_held("which")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(SECONDS)
        go_on(folder)
        wait_for(lambda: not is_held("which") and not is_held("which/n_games-1"), SECONDS)  # its kernel ends too
        seen = repr(watch_sweep("which"))
    assert seen.startswith("0 trials done, 0 running, 0 failed, 2 waiting; stopped; the same command goes on. ")


def test_looking_on_writes_nothing_and_keeps_nobody_out(folder):
    write_record("which", record(a=None))
    before = [(p, p.stat().st_mtime_ns) for p in run_folder("which").rglob("*")]
    sweep_state("which")
    assert [(p, p.stat().st_mtime_ns) for p in run_folder("which").rglob("*")] == before
    with held("which", patience=0.0):
        assert is_held("which")
        assert is_held("which"), "asking does not let go of it"
    with reading("which"):
        assert not is_held("which"), "who only reads it does not run in it"


def test_before_the_first_record_it_waits_and_without_a_sweep_it_says_so(folder):
    with pytest.raises(RunError, match=r"sweep.json: is missing; run the sweep: `python -m maro_lib sweep params"):
        watch_sweep("which")
    with held("which"):
        assert sweep_state("which").record.question == "which is being made ready"
    (run_folder("which") / "sweep.json").write_text("{")
    with pytest.raises(RunError, match=r"sweep.json: is damaged"):
        sweep_state("which")


# --- how long is left ------------------------------------------------------------------------------------


def record(at_a_time=1, n_kept=0, is_over=False, **errors) -> SweepRecord:
    """Branches of two stages each, the second one in a later round."""
    work = [BranchRecord(name=name, is_trial=name != "shared", stages=["02_rollout", "round_2/02_rollout"], error=error)
            for name, error in errors.items()]  # fmt: skip
    return SweepRecord(question="Which <b>?", trials=f"{len(work)} trials", measures=["games won"], n_kept=n_kept,
                       at_a_time=at_a_time, work=work, is_over=is_over)  # fmt: skip


def took(branch: str, *seconds: float | None, status: str = "ran") -> None:
    """Note how long a branch's stages took, round by round; None: it runs."""
    for k, n in enumerate(seconds, 1):
        run = round_name(f"which/{branch}", k)
        run_folder(run).mkdir(parents=True, exist_ok=True)
        stage = StageRecord(status="running" if n is None else status, fingerprint=NO_FINGERPRINT, notebook="",
                            seconds=n or 0.0)  # fmt: skip
        write_summary(Summary(run=run, stages={"02_rollout": stage}))


def test_how_long_is_left_by_hand(folder):
    # round 1 took 10 and 20 s, round 2 took 40 and 60: a branch of both takes 15 + 50
    took("a", 10, 40)
    took("b", 20, 60)
    took("c", 30)  # ended before the sweep was stopped: 50 are left of c; round 1 is now 20 on average
    assert seconds_left("which", record(a="", b="", c=None, d=None)) == pytest.approx(50 + 70)
    assert seconds_left("which", record(2, a="", b="", c=None, d=None)) == pytest.approx(60)
    assert seconds_left("which", record(8, a="", b="", c=None, d=None)) == pytest.approx(60), "two are left for eight"
    assert seconds_left("which", record(a="", b="", c=None, d=None), {"d": 5, "c": 80}) == pytest.approx(65)
    assert seconds_left("which", record(a="", b="", c="")) == 0
    assert left_in_words(0) == left_in_words(None) == []
    assert left_in_words(120) == ["about 2.0 min left"]


def test_a_stage_that_never_ended_leaves_the_rest_unknown(folder):
    took("a", 10, None)
    assert seconds_left("which", record(a="it failed", b=None)) is None
    took("a", 10, 40, status="failed")
    assert seconds_left("which", record(a="it failed", b=None)) is None


def test_every_branch_stands_in_one_state_and_no_text_of_it_is_markup(folder):
    took("shared", 10, 40)
    took("b", 20, None)
    write_record("which", record(n_kept=3, shared="", a="<i>no</i>", b=None, c=None))
    with held("which"), held("which/b"), held("which/shared"):  # its report, say
        began = time.time() - 30
        os.utime(run_folder("which/b/round_2") / "summary.json", (began, began))
        state = sweep_state("which")
        assert in_line(state) == "3 trials done, 1 running, 1 failed, 1 waiting; about 65 s left"  # 10, 15 + 40
    assert [(b.name, b.state) for b in state.branches] == [
        ("shared", "done"), ("a", "failed"), ("b", "running"), ("c", "waiting")]  # fmt: skip
    assert state.named("running")[0].about == "round_2/02_rollout: 30 s"
    html = shown_state(state).html
    assert "&lt;i&gt;no&lt;/i&gt;" in html
    assert "Which &lt;b&gt;?" in html
    assert "3 trials kept, not run again" in html
