"""Stages taken over from another run, and sweeps: what trials share is made once, and nothing of it is written again.

The notebooks are those of the series' tests; their cells run in this process, since a kernel each would take a minute.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maro_lib.fingerprints import Fingerprint
from maro_lib.run import series, sweep
from maro_lib.run.compare import compare_runs
from maro_lib.run.prefixes import Asked, branches
from maro_lib.run.series import run_series
from maro_lib.run.sweep import run_sweep
from maro_lib.run.sweep_file import _in_all_rounds, read_sweep
from maro_lib.run.sweep_kept import keep_rows, read_kept
from maro_lib.run.sweep_results import _cost_of_round
from maro_lib.runs import ROOT, RunError, artefact, run_folder
from maro_lib.summary import StageRecord, Stop, peek_summary

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

    def conclude(self, of: series.Series, stop: Stop | None) -> None:
        """Write no report: there is one in the test of a run's own."""

    def file(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def run(self, text: str, **options) -> int:
        return run_series(self.file("x.yaml", text), notebooks=str(self.notebooks), **options)

    def sweep(self, text: str, **options) -> int:
        return run_sweep(self.file("which.yaml", text), notebooks=str(self.notebooks), **options)

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
    monkeypatch.setattr(sweep, "conclude", made.conclude)
    monkeypatch.setattr(sweep, "has_ray", lambda: False)
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


# --- what trials share ---------------------------------------------------------------------------------

CHAINS = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=4).map(
        lambda values: tuple(Asked(f"0{i}", value) for i, value in enumerate(values))
    ),
    min_size=1, max_size=8,
)  # fmt: skip


def prefixes(chains: dict) -> set:
    return {chain[:n] for chain in chains.values() for n in range(1, len(chain) + 1)}


@given(CHAINS)
@settings(max_examples=200, deadline=None)
def test_stages_with_a_common_beginning_are_made_once(chains):
    made, distinct = branches(chains), len(set(chains.values())) == len(chains)
    assert sorted(b.name for b in made if b.is_trial) == sorted(chains)
    assert len({b.name for b in made}) == len(made)
    if distinct:
        assert sum(len(b.own) for b in made) == len(prefixes(chains))
    before = {"": ()}
    for branch in made:  # a parent comes first, and its child goes on where it ended
        assert branch.stages == before[branch.parent] + branch.own
        before[branch.name] = branch.stages
        assert all(chains[t][: len(branch.stages)] == chains[branch.trials[0]][: len(branch.stages)]
                   for t in branch.trials)  # fmt: skip
    for name, chain in chains.items():
        assert before[name] == tuple(asked.number for asked in chain)


def test_two_seeds_and_two_values_by_hand():
    def chain(seed: int, gamma: float):
        return Asked("00"), Asked("02", f"{seed}"), Asked("03", f"{seed} {gamma}"), Asked("04", f"{seed}")

    made = branches({f"{seed}-{gamma}": chain(seed, gamma) for seed in (1, 2) for gamma in (0.5, 1.0)})
    told = [(b.name.partition("-")[0] if not b.is_trial else b.name, b.own) for b in made]
    assert told == [
        ("shared", ("00",)),
        ("shared", ("02",)), ("1-0.5", ("03", "04")), ("1-1.0", ("03", "04")),
        ("shared", ("02",)), ("2-0.5", ("03", "04")), ("2-1.0", ("03", "04")),
    ]  # fmt: skip


# --- a sweep -------------------------------------------------------------------------------------------

GAMMAS = "question: Which gamma?\nvalues: {n_games: 3}\ngrid: {gamma: [0.25, 0.5]}\nseeds: 2\n"
TRIALS = ["gamma-0.25.seed-1", "gamma-0.25.seed-2", "gamma-0.5.seed-1", "gamma-0.5.seed-2"]


def trials(measure: str = "03 summed credit") -> pd.DataFrame:
    table = pd.read_parquet(run_folder("which") / "results.parquet")
    return table[table["measure"] == measure].reset_index(drop=True)


def told() -> str:
    return (run_folder("which") / "sweep.txt").read_text()


def test_what_trials_share_is_run_once_and_the_table_has_a_row_for_each(kitchen):
    assert kitchen.sweep(GAMMAS) == 0
    assert len(kitchen.ran) == 2 * (1 + 2 * 2), "02 once for each seed, 03 and 04 for each trial"
    assert sorted({run.partition("/")[2].split()[0] for run in kitchen.ran if "shared" not in run}) == TRIALS
    table = trials()
    assert table["trial"].tolist() == TRIALS
    assert table[["gamma", "seed"]].to_numpy().tolist() == [[0.25, 1], [0.25, 2], [0.5, 1], [0.5, 2]]
    assert table["value"].tolist() == [1.3125, 1.3125, 1.75, 1.75]
    assert table["cell"].tolist() == ["gamma 0.25", "gamma 0.25", "gamma 0.5", "gamma 0.5"]
    assert trials("02 games")["value"].tolist() == [3] * 4
    assert "Which gamma?\n4 finished of 4 trials (2 of gamma, 2 seeds)." in told()
    page = (run_folder("which") / "sweep.html").read_text()
    assert "<h1>Which gamma?</h1>" in page
    assert f'<a href="{TRIALS[3]}/report.html">' in page


def test_what_another_sweep_has_made_is_taken_over_where_it_is_the_same(kitchen):
    assert kitchen.sweep(GAMMAS) == 0
    ran = len(kitchen.ran)
    before = held_by(run_folder("which"))
    other = kitchen.file("other.yaml", GAMMAS.replace("gamma: [", "gamma: [0.75, ") + "like: [which, not_run]\n")
    assert run_sweep(other, notebooks=str(kitchen.notebooks)) == 0
    again = [stage for stage in kitchen.ran[ran:] if stage.endswith(" 02")]
    assert again == []
    assert held_by(run_folder("which")) == before
    assert len(kitchen.ran) > ran, "what differs is run"


def test_compare_reads_a_sweep(kitchen):
    kitchen.sweep(GAMMAS)
    assert compare_runs(["which"]) == compare_runs([str(run_folder("which"))]) == told()
    with pytest.raises(RunError, match=r"^elsewhere: is a run, and which a sweep; compare runs with runs"):
        compare_runs(["which", "elsewhere"])


def test_a_trial_is_what_a_run_alone_would_have_made(kitchen):
    kitchen.sweep(GAMMAS)
    kitchen.run("run: alone\nn_games: 3\ngamma: 0.25\nseed: 2\n")
    for name in ("rollout", "credit.parquet", "training.parquet", "02_rollout.json"):
        alone, trial = (run_folder(run) / name for run in ("alone", "which/gamma-0.25.seed-2"))
        assert series.output_digest("alone", name) == series.output_digest("which/gamma-0.25.seed-2", name)
        assert alone.is_dir() == trial.is_dir()


def test_the_same_command_runs_nothing_twice(kitchen):
    kitchen.sweep(GAMMAS)
    before, n = trials(), len(kitchen.ran)
    assert kitchen.sweep(GAMMAS) == 0
    assert len(kitchen.ran) == n
    pd.testing.assert_frame_equal(trials(), before)


@pytest.mark.parametrize("at", [1, 2, 5, 10])
def test_a_sweep_that_was_interrupted_goes_on_and_ends_with_the_same_table(kitchen, monkeypatch, at):
    def interrupted(*given):
        if len(kitchen.ran) == at - 1:
            kitchen.ran.append("interrupted")
            raise KeyboardInterrupt
        return kitchen.execute(*given)

    monkeypatch.setattr(series, "execute", interrupted)
    assert kitchen.sweep(GAMMAS) == 130
    assert kitchen.sweep(GAMMAS) == 0
    kitchen.ran.remove("interrupted")
    assert len(kitchen.ran) == len(set(kitchen.ran)) == 10
    assert trials()["value"].tolist() == [1.3125, 1.3125, 1.75, 1.75]


def test_a_failed_trial_is_named_with_its_error_and_the_others_go_on(kitchen, capsys):
    kitchen.edit(
        "03_decomposition.ipynb", "games = sorted", "assert gamma < 0.5, 'too much'\\n\",\n    \"games = sorted"
    )
    assert kitchen.sweep(GAMMAS) == 1
    assert trials()["trial"].tolist() == TRIALS[:2]
    assert "2 finished of 4 trials" in told()
    assert "gamma-0.5.seed-2 failed: AssertionError: too much (03_decomposition)" in told()
    assert "gamma-0.5.seed-2: AssertionError: too much" in (run_folder("which") / "sweep.html").read_text()
    assert "gamma-0.5.seed-1: failed: AssertionError: too much" in capsys.readouterr().out


def test_what_is_shared_and_fails_fails_its_trials_only(kitchen):
    kitchen.edit(
        "02_rollout.ipynb", "rollout = artefact", "assert seed > 1, 'no such seed'\\n\",\n    \"rollout = artefact"
    )
    assert kitchen.sweep(GAMMAS) == 1
    assert trials()["trial"].tolist() == [TRIALS[1], TRIALS[3]]
    assert "gamma-0.25.seed-1 failed: shared-02-" in told()
    assert ": AssertionError: no such seed (02_rollout)" in told()
    assert len([run for run in kitchen.ran if run.endswith("02")]) == 2


def test_two_sweeps_in_one_folder_are_refused(kitchen, capsys):
    with series.held("which"):
        assert kitchen.sweep(GAMMAS) == 1
    assert "outputs/which is in use by process" in capsys.readouterr().err
    assert not kitchen.ran


def test_a_dry_run_says_how_much_there_is_and_runs_nothing(kitchen, capsys):
    assert kitchen.sweep(GAMMAS + "prediction: the smaller one\n", is_dry=True) == 0
    said = capsys.readouterr().out
    assert (
        "Which gamma?\nPredicted: the smaller one\n4 trials (2 of gamma, 2 seeds) -> outputs/which: 10 stages" in said
    )
    assert "10 stages to run instead of 12" in said
    assert "02, for 2 trials" in said
    assert not kitchen.ran
    assert not run_folder("which").exists()


def test_how_small_a_difference_could_be_found_is_said_before(kitchen, capsys):
    assert kitchen.sweep(GAMMAS.replace("seeds: 2", "seeds: 5") + "spread: 6.0\n", is_dry=True) == 0
    assert "a difference between two cells of 10.1, if it lies 6 apart" in capsys.readouterr().out
    assert kitchen.sweep(GAMMAS.replace("seeds: 2", "seeds: 1"), is_dry=True) == 0
    assert "One seed: what another seed would find" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "problem"),
    [("grid: {gamma: [0.5]}", "`question` is missing"),
     ("question: a\ngird: {gamma: [0.5]}\nvalues: {seed: 1}", "unknown key `gird`; did you mean 'grid'"),
     ("question: a", "gives no base; write `of: params/cpu.yaml`, or `values:`"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gamma: []}", "grid: `gamma` is empty"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gama: [1.0]}", "grid: unknown name `gama`; did you mean 'gamma'"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gamma: [0.5, x]}", "grid: `gamma` must be float, got 'x'"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gamma: 0.5}", "`grid.gamma`: input should be a valid list"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gamma: [2.0]}", "`gamma` must be above 0, at most 1"),
     ("question: a\nvalues: {seed: 1}\ngrid: {gamma: [0.5, 0.5]}", "`gamma` holds 0.5 twice"),
     ("question: a\nvalues: {seed: 1}\ngrid: {seed: [1, 2]}", "write `seeds: 3`"),
     ("question: a\nvalues: {seed: 1}\nlike: [which]", "like: names the sweep itself"),
     ("question: a\nvalues: {seed: 1}\nseeds: 0", "`seeds`: input should be greater than or equal to 1, got 0"),
     ("question: a\nvalues: {seed: 1}\narms: {one: {run: x}}", "arms: one: `run` is decided by the sweep"),
     ("question: a\nvalues: {seed: 1}\narms: {one: {gamma: 0.5}}\ngrid: {gamma: [0.5]}", "is set by the grid too"),
     ("question: a\nvalues: {seed: 1}\narms: {one: {}, two: {}}", "two.seed-1 and one.seed-1 are the same run"),
     ("question: a\nvalues: {seed: 1}\nonly: '02'\ngrid: {gamma: [0.5]}", "`gamma` changes nothing in 02"),
     ("question: a\nvalues: {seed: 1}\nonly: '09'", "there is no notebook '09'"),
     ("question: a\nof: nowhere.yaml", "there is no such file"),
     ("question: a\nquestion: b", "`question` is given twice")],
)  # fmt: skip
def test_a_mistake_in_the_file_is_a_sentence_before_anything_runs(kitchen, capsys, text, problem):
    assert kitchen.sweep(text + "\n") == 1
    assert problem in capsys.readouterr().err
    assert not kitchen.ran
    assert not run_folder("which").exists()


def test_a_stage_of_a_sweep_is_run_in_every_round():
    assert _in_all_rounds("02, 05,06", 1) == "02,05,06"
    assert _in_all_rounds("01,02,05,06", 3) == "01,02,round_2/02,round_3/02,05,round_2/05,round_3/05,06"
    assert _in_all_rounds("", 3) == ""


NO_FINGERPRINT = Fingerprint(library="", parameters={}, inputs={}, versions={}, cells="")


def test_what_an_arm_costs_is_what_it_would_pay_alone():
    played = StageRecord(
        status="ran",
        fingerprint=NO_FINGERPRINT,
        notebook="",
        seconds=30.0,
        headline={"games": 8, "tokens sampled": 500},
    )
    trained = {"games played anew": 0, "tokens sampled anew": 0, "tokens trained": 900, "seconds": 12.5}
    assert _cost_of_round(played, trained) == (8, 500, 900, 42.5)
    anew = trained | {"games played anew": 6, "tokens sampled anew": 400}
    assert _cost_of_round(played, anew) == (6, 400, 900, 12.5), "what was played before taught nothing"


@pytest.mark.parametrize("path", sorted((ROOT / "params" / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_sweep_that_comes_along_can_be_read_and_shares_its_games(path):
    found = read_sweep(path, ROOT / "notebooks")
    assert found.file.prediction, "a question that comes along is predicted"
    shares = any(not branch.is_trial and "02" in branch.stages for branch in found.branches)
    are_apart = "elsewhere" in found.file.values or "15" in found.file.only
    assert shares != are_apart, "trials that are each trained in another kind, or another world, share no games"


def test_a_sweep_takes_no_run_s_folder(kitchen, capsys):
    kitchen.run("run: which\n", only="02")
    assert kitchen.sweep(GAMMAS) == 1
    assert "outputs/which is the folder of a run; give the sweep's file another name" in capsys.readouterr().err


# --- what is kept --------------------------------------------------------------------------------------


def keeping(folder: Path, text: str = "") -> str:
    return f"{text or GAMMAS}\nkept: {folder.parent}/kept-{folder.name}.parquet\n"


def test_kept_trials_are_not_run_again_and_stand_in_the_results(kitchen, tmp_path, capsys):
    assert kitchen.sweep(keeping(tmp_path)) == 0
    before, n_first = pd.read_parquet(run_folder("which") / "results.parquet"), len(kitchen.ran)
    assert kitchen.sweep(keeping(tmp_path), is_to_keep=True) == 0
    assert len(kitchen.ran) == n_first, "keeping runs nothing"
    assert kitchen.sweep(keeping(tmp_path), is_to_keep=True) == 0
    kept = pd.read_parquet(tmp_path.parent / f"kept-{tmp_path.name}.parquet")
    assert len(kept) == len(before), "kept again, the rows are there once"
    shutil.rmtree(run_folder("which"))  # the machine is lost
    assert kitchen.sweep(keeping(tmp_path, GAMMAS.replace("seeds: 2", "seeds: 3"))) == 0
    ran_again = [stage for stage in kitchen.ran[n_first:] if "seed-3" not in stage and "shared" not in stage]
    assert ran_again == []
    after = pd.read_parquet(run_folder("which") / "results.parquet")
    assert set(after["trial"]) > set(before["trial"])
    same = after[after["trial"].isin(before["trial"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(same, before, check_dtype=False)
    assert "kept in" in capsys.readouterr().out


def test_where_all_is_kept_nothing_runs_and_the_page_is_written(kitchen, tmp_path):
    kitchen.sweep(keeping(tmp_path))
    kitchen.sweep(keeping(tmp_path), is_to_keep=True)
    shutil.rmtree(run_folder("which"))
    kitchen.ran.clear()
    assert kitchen.sweep(keeping(tmp_path)) == 0
    assert kitchen.ran == []
    assert (run_folder("which") / "sweep.html").exists()


def test_a_trial_that_is_decided_otherwise_is_run_although_its_name_is_kept(kitchen, tmp_path):
    kitchen.sweep(keeping(tmp_path))
    kitchen.sweep(keeping(tmp_path), is_to_keep=True)
    kitchen.ran.clear()
    assert kitchen.sweep(keeping(tmp_path, GAMMAS.replace("n_games: 3", "n_games: 5"))) == 0
    assert kitchen.ran != []


def test_there_must_be_a_place_to_keep_rows_and_something_to_keep(kitchen, tmp_path, capsys):
    assert kitchen.sweep(GAMMAS, is_to_keep=True) == 1
    assert "say where its rows are to be kept" in capsys.readouterr().err
    assert kitchen.sweep(keeping(tmp_path), is_to_keep=True) == 1
    assert "no trial has finished" in capsys.readouterr().err
    (tmp_path.parent / f"kept-{tmp_path.name}.parquet").write_text("something else")
    assert kitchen.sweep(keeping(tmp_path)) == 1
    assert "holds no kept trials" in capsys.readouterr().err


def test_what_only_says_how_fast_decides_no_kept_trial(tmp_path):
    def chains(**values):
        return {"a": (Asked("02", json.dumps(values)),)}

    results, at = tmp_path / "results.parquet", tmp_path / "kept.parquet"
    pd.DataFrame({"trial": ["a"], "value": [1.0]}).to_parquet(results)
    keep_rows(at, results, chains(n_games=4, concurrency=128))
    assert len(read_kept(at, chains(n_games=4, concurrency=32, cache_gb=2.0), {})) == 1
    assert read_kept(at, chains(n_games=5, concurrency=128), {}).empty
    swept = read_sweep(ROOT / "params" / "sweeps" / "balancing.yaml", ROOT / "notebooks")
    assert len(swept.kept), "kept by 128 games at a time"
