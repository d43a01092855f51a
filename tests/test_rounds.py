"""Rounds: each resumes by itself, plays with what the last one learned, and teaches the learner's own actions only."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
import torch
from servers import Server
from test_series import Place
from waiting import wait_for

from maro_lib.learn.balancing import NothingToLearn, balance
from maro_lib.learn.corpus import make_corpus
from maro_lib.learn.counterfactuals import counterfactual_values
from maro_lib.learn.decomposition import decompose
from maro_lib.model.loading import STUDY_ADAPTER, load, quiet
from maro_lib.model.local import LocalPolicy, Sampling
from maro_lib.model.players import Opposed, Player, learner
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED
from maro_lib.play.rollout import play, schedule
from maro_lib.run import series
from maro_lib.run.arrangement import SEED_STEP, StageRun, check_rounds, choose, find_notebooks, in_order, plan
from maro_lib.run.parameters import declared
from maro_lib.runs import (
    ROOT,
    Artefacts,
    MissingInput,
    RunError,
    artefact,
    finish,
    imitates,
    learned_adapter,
    located,
    needs,
    opposing,
    portable,
    round_of,
    run_folder,
    shown,
)
from maro_lib.show.figures import plot_rounds
from maro_lib.statistics import Rate
from maro_lib.study.rounds import adapters_of, wins_by_round
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules

matplotlib.use("Agg")

FIXTURE = Path(__file__).parent / "fixtures" / "notebooks" / "rounds"
NUMBERS = ("02", "03", "04", "05")
THREE = "run: cpu\nmaro_iterations: 3\nopponents: earlier\n"
TWO = THREE.replace("3", "2")


# --- the series --------------------------------------------------------------------------------------


class Rounds(Place):
    """A series of several rounds: many notebooks."""

    patience = 900

    def __init__(self, folder: Path):
        super().__init__(folder, "rounds")
        self.set(THREE)


@pytest.fixture(scope="module")
def finished(kernels, tmp_path_factory) -> tuple[Rounds, subprocess.CompletedProcess]:
    place = Rounds(tmp_path_factory.mktemp("rounds"))
    place.kernels = kernels
    return place, place.run()


@pytest.fixture
def again(finished, tmp_path) -> Rounds:
    """A copy of three finished rounds, to change something in."""
    return finished[0].copied(tmp_path)


def steps_told(done: subprocess.CompletedProcess, word: str) -> list[str]:
    """The steps that were `running` or `skipped`, in order."""
    told = (line.split("] ")[1].split(": ") for line in done.stdout.splitlines() if line.startswith("["))
    return [name for name, what, *_ in told if what.startswith(word)]


STAGES_OF_A_ROUND = ["02_rollout", "03_decomposition", "04_balancing", "05_maro_training"]


def of_rounds(*numbers: int) -> list[str]:
    return [name if k == 1 else f"round_{k}/{name}" for k in numbers for name in STAGES_OF_A_ROUND]


def test_rounds_run_one_after_the_other(finished):
    done = finished[1]
    assert done.returncode == 0, done.stderr
    assert steps_told(done, "running") == of_rounds(1, 2, 3)
    assert "[12/12] round_3/05_maro_training: done in" in done.stdout


def test_a_round_plays_other_games_with_what_the_last_one_learned(finished):
    first, second, third = (
        finished[0].made(f"{at}rollout/game-1.txt").read_text().strip() for at in ("", "round_2/", "round_3/")
    )
    one = "base + 0.5 1"  # trained once, by seed 1
    assert first == "seed 1: base against itself"
    assert second == f"seed 1001: {one} against base"
    assert third == f"seed 2001: {one} + 0.5 1001 against base, outputs/cpu/learning/adapter"
    assert SEED_STEP == 1000


def test_the_report_has_every_stage_of_every_round(finished):
    table, made = finished[1].stdout.split("\nstage ")[1].split("\nMade:\n")
    assert [line.split()[0] for line in table.splitlines()[1:] if line.strip()] == of_rounds(1, 2, 3)
    for path in ("02_rollout.ipynb", "round_2/rollout", "round_3/learning", "summary.json", "round_3/summary.json"):
        assert f"\n  outputs/cpu/{path}" in "\n" + made
        assert finished[0].made(path).exists()


def test_a_rounds_summary_says_what_that_round_was_run_with(finished):
    place = finished[0]
    parameters = pd.read_json(place.made("round_3/summary.json"), typ="series")["parameters"]
    assert parameters["run"] == "cpu/round_3"
    assert parameters["seed"] == 2001
    assert parameters["adapter"] == "outputs/cpu/round_2/learning/adapter"  # as it reads on every machine
    assert place.summary()["parameters"]["adapter"] == ""


def test_nothing_changed_means_no_round_runs_again(again):
    done = again.run()
    assert steps_told(done, "running") == []
    assert steps_told(done, "skipped") == of_rounds(1, 2, 3)


def test_one_round_more_or_less_leaves_the_others_as_they_are(again):
    again.set("run: cpu\nmaro_iterations: 1\nopponents: earlier\n")
    one = again.run()
    assert steps_told(one, "skipped") == of_rounds(1)
    assert steps_told(one, "running") == []
    assert "round_" not in one.stdout
    shutil.rmtree(again.made("round_3"))
    again.set(THREE)
    more = again.run("--only", "05,round_2/05,round_3/02")
    assert steps_told(more, "skipped") == ["05_maro_training", "round_2/05_maro_training"]
    assert steps_told(more, "running") == ["round_3/02_rollout"]


def test_another_adapter_runs_all_later_rounds_again(again):
    again.set(TWO + "rate: 0.25\n")
    done = again.run()
    assert steps_told(done, "skipped") == of_rounds(1)[:3]
    assert steps_told(done, "running") == of_rounds(1, 2)[3:]
    assert "round_2/02_rollout: running (changed: adapter)" in done.stdout
    assert again.made("round_2/rollout/game-0.txt").read_text().startswith("seed 1001: base + 0.25 1 against")
    assert again.made("round_2/before/gamebook.json").exists()


def test_an_adapter_that_came_out_the_same_runs_nothing_after_it(again):
    again.set(TWO)
    again.edit("05_maro_training.ipynb", "make_folder(learning /", "make_folder(learning/")
    done = again.run()
    assert steps_told(done, "running") == ["05_maro_training", "round_2/05_maro_training"]


def test_a_killed_round_goes_on_and_the_one_before_is_skipped(again, monkeypatch):
    shutil.rmtree(again.made("round_2"))
    again.set(TWO)
    rollout = again.made("round_2/rollout")
    monkeypatch.setenv("STOP_IN", "cpu/round_2")
    with again.started() as process:
        wait_for((rollout / "game-0.txt").exists, 120)
        process.send_signal(signal.SIGKILL)
    monkeypatch.delenv("STOP_IN")
    saved = (rollout / "game-0.txt").stat().st_mtime_ns
    assert not (rollout / "game-1.txt").exists(), "the kill must fall within the round"
    done = again.run()
    assert done.returncode == 0, done.stderr
    assert steps_told(done, "skipped") == of_rounds(1)
    assert "round_2/02_rollout: running (it did not end the last time)" in done.stdout
    assert (rollout / "game-0.txt").stat().st_mtime_ns == saved
    assert again.made("round_2/05_maro_training.json").exists()


def test_papermill_by_hand_plays_the_same_round(again):
    played = again.made("round_2/rollout/game-0.txt")
    text = played.read_text()
    shutil.rmtree(played.parent)
    given = {"run": "cpu/round_2", "seed": "1001", "adapter": "outputs/cpu/learning/adapter", "opponents": "earlier"}
    options = [word for name, value in given.items() for word in ("-p", name, value)]
    command = [sys.executable, "-m", "papermill", "series/02_rollout.ipynb", "out.ipynb", "--no-progress-bar"]
    subprocess.run([*command, *options], cwd=again.folder, env=again.environment, check=True, capture_output=True)
    assert played.read_text() == text


def test_a_failure_in_a_round_is_named_with_it(again):
    again.set(TWO)
    shutil.rmtree(again.made("round_2/rollout"))
    again.edit("02_rollout.ipynb", "for i in range(2):", "for i in range(2 if run == 'cpu' else 1 / 0):")
    done = again.run("--from", "round_2/02")
    assert done.returncode == 1
    assert "ZeroDivisionError: division by zero\nround_2/02_rollout stopped in outputs/cpu/round_2" in done.stderr


# --- which steps there are ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("only", "start", "chosen"),
    [
        ("", "", ["02", "03", "04", "05", "round_2/02", "round_2/03", "round_2/04", "round_2/05"]),
        ("05", "", ["05"]),
        ("2,round_2/5", "", ["02", "round_2/05"]),
        ("", "5", ["05", "round_2/02", "round_2/03", "round_2/04", "round_2/05"]),
        ("", "round_2/4", ["round_2/04", "round_2/05"]),
    ],
)
def test_a_number_alone_means_round_1(only, start, chosen):
    assert [step.number for step in choose(find_notebooks(FIXTURE), only, start, n_rounds=2)] == chosen


def test_a_round_that_is_not_there_can_not_be_chosen():
    with pytest.raises(RunError, match=r"no notebook 'round_3/02' to run \(maro_iterations is 2\)"):
        choose(find_notebooks(FIXTURE), "round_3/02", "", n_rounds=2)


def test_rounds_come_before_the_notebooks_that_come_once():
    names = ("00_embedded_model", "01_environment", *STAGES_OF_A_ROUND, "06_social_metrics", "07_transfer")
    notebooks = [Path(f"{name}.ipynb") for name in names]
    told = [step.name for step in in_order(notebooks, 3)]
    assert told == [*names[:2], *of_rounds(1, 2, 3), *names[6:]]
    assert [step.notebook for step in in_order(notebooks, 1)] == notebooks
    assert in_order(notebooks[6:], 3) == [StageRun(path) for path in notebooks[6:]]


def test_what_would_go_wrong_in_a_later_round_is_refused_now():
    known = declared(find_notebooks(FIXTURE))
    good = {"run": "cpu", "maro_iterations": 2, "opponents": "base"}
    check_rounds(good, known)
    for changed, problem in (
        ({"run": "cpu/round_2"}, "is round 2 of the run 'cpu'.*write `run: cpu` and `maro_iterations: 2` or more"),
        ({"run": "cpu/other/2"}, "can't name a folder"),
    ):
        with pytest.raises(RunError, match=problem):
            check_rounds(good | changed, known)
    with pytest.raises(RunError, match="notebook 05_maro_training must be there, and declare `adapter`"):
        check_rounds(good, declared(find_notebooks(FIXTURE)[:3]))


# --- a round's folder --------------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.mark.parametrize("name", ["cpu/round_2", "gpu_qwen2.5_7b/round_17"])
def test_a_round_is_a_run_of_its_own(name, outputs):
    assert run_folder(name) == outputs / name
    assert round_of(name) == (name.split("/")[0], int(name.split("_")[-1]))
    assert round_of("round_2") == ("round_2", 1)


@pytest.mark.parametrize(
    "name", ["cpu/round_1", "cpu/round_02", "cpu/round_", "cpu/round_2/round_3", "cpu/trial/2", "/round_2"]
)
def test_no_other_name_with_a_slash_is_taken(name):
    for function in (run_folder, round_of):
        with pytest.raises(RunError, match="can't name a folder"):
            function(name)


def test_what_a_round_lacks_is_said_with_the_command_that_makes_it(outputs):
    with pytest.raises(MissingInput) as error:
        needs("cpu/round_2", "rollout")
    assert str(error.value) == (
        "outputs/cpu/round_2/rollout is missing; notebook 02_rollout makes it: make run ONLY=round_2/02 "
        "PARAMS=params/cpu.yaml (the file that says `run: cpu`)"
    )
    with pytest.raises(MissingInput, match=r"run notebooks/02_rollout\.ipynb first, with run = 'notebook/round_2'"):
        needs("notebook/round_2", "rollout")


def learn(run: str) -> Path:
    """Leave behind what a finished training leaves behind."""
    folder = artefact(run, "learning") / "adapter"
    folder.mkdir(parents=True)
    end(run, "05_maro_training", {})
    return folder


def end(run: str, notebook: str, headline: dict) -> None:
    """End a notebook; what it writes besides what a test is about is left behind empty."""
    for name in series.STAGES[notebook].writes:
        if not (path := artefact(run, name)).exists():
            path.write_text("")
    finish(run, notebook, headline)


def test_opponents_are_the_base_or_the_players_of_earlier_rounds(outputs):
    adapters = [shown(learn(run)) for run in ("cpu", "cpu/round_2", "cpu/round_3")]
    assert adapters[:2] == ["outputs/cpu/learning/adapter", "outputs/cpu/round_2/learning/adapter"]
    assert opposing("cpu/round_4", "self", adapters[2]) == ()
    assert opposing("cpu/round_4", "base", adapters[2]) == ("",)
    assert opposing("cpu/round_4", "earlier", adapters[2]) == ("", *adapters[:2])
    assert opposing("cpu/round_2", "earlier", adapters[0]) == ("",)
    assert opposing("cpu/round_3", "diverse", adapters[1]) == ("", "naive", "skilled", adapters[0])
    assert opposing("cpu", "base", "") == (), "in round 1 the learner is the base"
    with pytest.raises(RunError, match="one of self, base, earlier, diverse is needed"):
        opposing("cpu", "none", "")
    with pytest.raises(MissingInput, match="ONLY=round_4/05"):
        opposing("cpu/round_6", "earlier", "x")


def test_contenders_are_what_each_round_has_learned_and_the_last_control(outputs):
    learned = {f"round {k}": shown(learn(run)) for k, run in ((1, "cpu"), (2, "cpu/round_2"))}
    assert adapters_of("cpu", 2) == learned
    (run_folder("cpu/round_2") / "control").unlink()
    (run_folder("cpu/round_2") / "control" / "adapter").mkdir(parents=True)
    assert adapters_of("cpu", 2) == learned | {"control": "outputs/cpu/round_2/control/adapter"}
    assert list(adapters_of("cpu", 1)) == ["round 1"]
    with pytest.raises(MissingInput, match="ONLY=round_3/05"):
        adapters_of("cpu", 3)


def test_experts_are_imitated_in_the_first_round_if_at_all():
    runs = ("cpu", "cpu/round_2", "rivals/MaKTO.seed-0", "rivals/MaKTO.seed-0/round_3")
    assert [imitates(run, True) for run in runs] == [True, False, True, False]
    assert not any(imitates(run, False) for run in runs)


def test_an_adapter_is_found_by_the_name_it_is_shown_with(outputs, tmp_path, monkeypatch):
    folder = learn("cpu/round_2")
    monkeypatch.chdir(tmp_path.parent)
    assert located(shown(folder)) == folder == learned_adapter("cpu", 2)
    assert located(str(folder)) == folder
    assert portable(str(folder)) == shown(folder)
    assert portable(str(ROOT / STUDY_ADAPTER)) == STUDY_ADAPTER
    assert portable(str(tmp_path / "model")) == "model", "a place of this machine is stored nowhere"
    assert [portable(name) for name in ("embedded", "owner/model")] == ["embedded", "owner/model"]


def planned(folder: Path, text: str, only: str = "", notebooks: Path = FIXTURE) -> series.Series:
    (folder / "x.yaml").write_text(text)
    return plan(folder / "x.yaml", only, "", notebooks)


@pytest.fixture
def metrics(tmp_path) -> Path:
    """A notebook that reads what was learned, after those of the rounds."""
    notebooks = shutil.copytree(FIXTURE, tmp_path / "series")
    return shutil.copy(notebooks / "03_decomposition.ipynb", notebooks / "06_social_metrics.ipynb")


def test_later_stages_are_run_for_what_the_last_round_learned(outputs, tmp_path, metrics, monkeypatch):
    monkeypatch.setitem(series.STAGES, "06_social_metrics", Artefacts(reads=("learning",)))
    of_two = planned(tmp_path, TWO, "06", metrics.parent)
    learn("cpu")
    with pytest.raises(MissingInput, match=r"outputs/cpu/round_2/learning is missing.*ONLY=round_2/05"):
        of_two.fingerprint(metrics)
    (learn("cpu/round_2") / "weights.txt").write_text("one")
    before = of_two.fingerprint(metrics)
    (learned_adapter("cpu", 2) / "weights.txt").write_text("other")
    assert of_two.fingerprint(metrics) != before


def test_an_optional_input_counts_when_it_is_there(outputs, tmp_path, metrics, monkeypatch):
    reads = Artefacts(reads=("learning", "control"), optional=("control",))
    monkeypatch.setitem(series.STAGES, "06_social_metrics", reads)
    of_one = planned(tmp_path, "run: cpu\n", "06", metrics.parent)
    learn("cpu")
    artefact("cpu", "control").unlink()
    without = of_one.fingerprint(metrics)
    artefact("cpu", "control").mkdir()
    (artefact("cpu", "control") / "weights.txt").write_text("one")
    assert of_one.fingerprint(metrics) != without


def test_experiments_run_only_when_they_are_named():
    names = ("01_environment", "06_social_metrics", "08_evidence", "09_benchmarks")
    notebooks = [Path(f"{name}.ipynb") for name in names]
    told = {how: [step.number for step in choose(notebooks, *how)] for how in
            (("", ""), ("", "06"), ("08", ""), ("", "08"), ("01,09", ""))}  # fmt: skip
    assert list(told.values()) == [["01", "06"], ["06"], ["08"], ["08", "09"], ["01", "09"]]


def test_a_round_needs_what_the_one_before_learned(outputs, tmp_path):
    second = planned(tmp_path, TWO).in_round(2)
    with pytest.raises(MissingInput, match=r"outputs/cpu/learning is missing.*make run ONLY=05"):
        second.fingerprint(FIXTURE / "02_rollout.ipynb")


def test_an_adapter_that_a_parameter_file_names_counts(outputs, tmp_path):
    adapter = learn("other")
    named = planned(tmp_path, f"run: cpu\nadapter: {shown(adapter)}\n")
    before = named.fingerprint(FIXTURE / "02_rollout.ipynb")
    (adapter / "weights.txt").write_text("trained again")
    assert series.fingerprints.changed_parts(before, named.fingerprint(FIXTURE / "02_rollout.ipynb")) == ["adapter"]


def test_an_earlier_adapter_counts_where_it_plays(outputs, tmp_path):
    third = planned(tmp_path, THREE).in_round(3)
    for run in ("cpu", "cpu/round_2"):
        (learn(run) / "weights.txt").write_text(run)
    for k in (1, 2):
        before = third.fingerprint(FIXTURE / "02_rollout.ipynb")
        (learned_adapter("cpu", k) / "weights.txt").write_text("other")
        after = third.fingerprint(FIXTURE / "02_rollout.ipynb")
        assert series.fingerprints.changed_parts(before, after) == ["adapter"]
    itself = replace(third, params=third.params | {"opponents": "self"})
    before = itself.fingerprint(FIXTURE / "02_rollout.ipynb")
    (learned_adapter("cpu", 1) / "weights.txt").write_text("and another")
    assert itself.fingerprint(FIXTURE / "02_rollout.ipynb") == before, "in self-play it does not play"


def test_in_a_round_without_an_adapter_opponents_decide_nothing(outputs, tmp_path):
    """So that trials with other opponents share their first round."""
    learn("cpu")
    one, other = (planned(tmp_path, f"run: cpu\nmaro_iterations: 2\nopponents: {who}\n") for who in ("base", "self"))
    notebook = FIXTURE / "02_rollout.ipynb"
    assert one.fingerprint(notebook) == other.fingerprint(notebook)
    assert one.in_round(2).fingerprint(notebook) != other.in_round(2).fingerprint(notebook)


# --- seats by game -----------------------------------------------------------------------------------

SCRIPTS = generate_many(4, 0, Knobs(characters=4))
OPPOSED = Opposed(SKILLED, (NAIVE, RANDOM), seed=3)


def games(n: int = 40, rounds: int = 1):
    return schedule(SCRIPTS, n, 5, Rules(rounds=rounds))


def sides(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Who played as civilians and who as culprits, in each game."""
    seated = [dict(zip(f, p, strict=True)) for f, p in zip(table["factions"], table["policies"], strict=True)]
    return [(s["civilian"], s["culprit"]) for s in seated]


def test_seats_may_be_given_by_game():
    played = play(games(6), lambda game: SKILLED if game.order < 2 else {"civilian": NAIVE, "culprit": RANDOM})
    told = sides(played.table("games"))
    assert told == [(SKILLED.name, SKILLED.name)] * 2 + [(NAIVE.name, RANDOM.name)] * 4
    alone = play(games(6)[3:4], {"civilian": NAIVE, "culprit": RANDOM}).table("actions")["text"]
    among = played.table("actions")
    assert among.loc[among["order"] == 3, "text"].tolist() == alone.tolist()


def test_other_seats_are_another_request(tmp_path):
    play(games(6), OPPOSED, folder=tmp_path / "rollout")
    assert play(games(6), OPPOSED, folder=tmp_path / "rollout").n_resumed == 6
    assert play(games(9), OPPOSED, folder=tmp_path / "rollout").n_resumed == 6, "more games go on with these"
    other = play(games(9), lambda game: NAIVE if game.order == 5 else OPPOSED(game), folder=tmp_path / "rollout")
    assert other.n_resumed == 0
    assert "held the games of another request" in other.notes[0]


def test_an_empty_seat_is_named_with_its_game():
    with pytest.raises(ValueError, match="nobody plays"):
        play(games(2), lambda game: {"civilian": NAIVE} if game.order else NAIVE)


def test_actions_are_valued_by_those_who_sat_in_their_game():
    few = games(2)
    actions = play(few, OPPOSED).table("actions")
    values = counterfactual_values(few, actions, OPPOSED, n_samples=1, phases=("vote",))
    one_by_one = [
        counterfactual_values([g], actions[actions["order"] == g.order], OPPOSED(g), n_samples=1, phases=("vote",))
        for g in few
    ]
    pd.testing.assert_series_equal(values, pd.concat(one_by_one))


def test_the_learner_plays_each_side_in_one_of_two_games():
    told = sides(play(games(), OPPOSED).table("games"))
    mine = [civilian == SKILLED.name for civilian, _ in told]
    assert all(a != b for a, b in zip(mine[::2], mine[1::2], strict=True))
    assert all((civilian == SKILLED.name) != (culprit == SKILLED.name) for civilian, culprit in told)
    for script in range(len(SCRIPTS)):
        assert len(set(mine[script :: len(SCRIPTS)])) == 2, "a script's side must not depend on its place"


def test_opponents_are_drawn_game_by_game():
    told = sides(play(games(), OPPOSED).table("games"))
    drawn = Counter(name for pair in told for name in pair if name != SKILLED.name)
    assert drawn.keys() == {NAIVE.name, RANDOM.name}
    assert min(drawn.values()) > 10
    assert sides(play(games(7), OPPOSED).table("games")) == told[:7], "a longer run begins with the shorter one"


# --- several adapters of one model -------------------------------------------------------------------


@pytest.fixture(scope="module")
def adapters(tmp_path_factory) -> tuple[str, str]:
    """Two LoRA adapters of the embedded model that change what it says."""
    return tuple(make_adapter(tmp_path_factory.mktemp("adapters") / name, seed) for seed, name in enumerate("ab"))


def make_adapter(folder: Path, seed: int) -> str:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    with quiet():
        model = get_peft_model(load("embedded", precision="float32").model, config)
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        if "lora_" in name:
            tensor.data = 0.1 * torch.randn(tensor.shape, generator=generator)
    model.save_pretrained(folder)
    return str(folder)


def player(adapters, **more) -> Player:
    mine, other = adapters
    return Player(precision="float32", adapter=mine, max_new_tokens=10, against=("", other), **more)


def texts(policies) -> list[tuple]:
    actions = play(games(4), policies).table("actions")
    return actions[["order", "seat", "t", "text"]].to_records(index=False).tolist()


def apart(adapters, **more) -> Opposed:
    """The same players, each with a model of its own."""
    sampling = Sampling(max_new_tokens=10)
    models = (load("embedded", precision="float32", adapter=a) for a in (adapters[0], "", adapters[1]))
    mine, *others = (LocalPolicy(loaded, sampling, **more) for loaded in models)
    return Opposed(mine, tuple(others))


def test_adapters_on_one_base_never_mix(adapters):
    with player(adapters).seated() as together:
        policies = (together.learner, *together.opponents)
        assert len({id(p.loaded.model) for p in policies}) == 1
        assert len({id(p.store) for p in policies}) == len({str(texts(p)) for p in policies}) == 3
        said = texts(together)
        swapped = texts(turned(together))  # the same seats, now read by another adapter
        again = texts(together)  # with everything that was kept
    assert said == again == texts(apart(adapters)) == texts(apart(adapters, cache_gb=0))
    assert said != swapped == texts(turned(apart(adapters)))


def test_scripted_players_sit_among_the_opponents(adapters):
    with replace(player(adapters), against=("", "naive", "skilled")).seated() as together:
        base, *scripted = together.opponents
        assert not base.adapter
        assert scripted == [NAIVE, SKILLED]
        assert {*play(games(8), together).table("actions")["policy"]} > {NAIVE.name, SKILLED.name}


def turned(opposed: Opposed) -> Opposed:
    """The last opponent as the learner, against who was the learner."""
    return Opposed(opposed.opponents[-1], (opposed.learner,), opposed.seed)


def test_an_adapter_is_known_by_its_weights_not_by_its_company(adapters):
    with player(adapters).seated() as together:
        learner_, base, other = together.learner, *together.opponents
        assert learner_.loaded.fingerprint == load("embedded", precision="float32", adapter=adapters[0]).fingerprint
        assert other.loaded.fingerprint == load("embedded", precision="float32", adapter=adapters[1]).fingerprint
        assert len({p.fingerprint for p in (learner_, base, other)}) == 3
        assert len({p.name for p in (learner_, base, other)}) == 3
        assert learner(together) == learner_.name
        assert together.name == f"{learner_.name} against {base.name} or {other.name}"


def test_kept_views_share_the_memory_that_one_player_had(adapters):
    with player(adapters, cache_gb=1.0).seated() as together:
        budgets = [p.store.budget for p in (together.learner, *together.opponents)]
    assert budgets == [2**29, 2**28, 2**28]


def test_without_opponents_the_model_plays_itself(adapters):
    with replace(player(adapters), against=()).seated() as seated:
        assert isinstance(seated, LocalPolicy)
        assert learner(seated) == seated.name


def test_on_a_server_an_adapter_is_loaded_under_a_name_with_its_digest(adapters):
    mine, other = adapters
    with Server() as server:
        server.adapters = {}
        on_server = Player(model="m", server_url=server.url, adapter=mine, against=("", other))
        scripts = generate_many(1, 0, Knobs(characters=4, register="prose"))
        for _ in range(2):  # the second time it is there already
            with on_server.seated() as together:
                table = play(schedule(scripts, 4, 0, Rules(rounds=1)), together).table("games")
        assert set(server.adapters.values()) == {mine, other}
        assert {name.split("@")[0] for name in server.adapters} == {mine, other}
        assert {body["model"] for body in server.games} <= {"m", *server.adapters}
    assert all((learner(together) in pair[0]) != (learner(together) in pair[1]) for pair in sides(table))


# --- what is learned ---------------------------------------------------------------------------------


def credited(policies, n: int = 40) -> tuple[pd.DataFrame, pd.DataFrame]:
    played = play(games(n), policies)
    actions = played.table("actions")
    return actions.assign(weight=decompose(actions, "uniform")), played.table("dialogues")


@pytest.mark.parametrize("mode", ["min", "max", "all", "ips"])
def test_only_the_learners_actions_are_kept_and_the_rest_is_counted(mode):
    actions, _ = credited(OPPOSED)
    balanced = balance(actions, mode, learner=SKILLED.name)
    assert set(balanced.actions["policy"]) == {SKILLED.name}
    assert set(balanced.actions["faction"]) == {"civilian", "culprit"}
    everybody = balance(actions, mode)
    n_others = (everybody.actions["policy"] != SKILLED.name).sum()
    assert balanced.reasons.loc["an opponent's"].sum() == n_others > 0
    assert len(balanced.actions) + balanced.reasons.to_numpy().sum() == len(actions)
    assert "an opponent's" in balanced.statement
    kept = everybody.actions[everybody.actions["policy"] == SKILLED.name]
    assert kept["weight"].tolist() == balanced.actions["weight"].tolist(), "who is drawn does not depend on who learns"
    w_pos, w_neg = (balanced.actions.loc[balanced.actions["desirable"] == d, "weight"].sum() for d in (True, False))
    assert balanced.lam_pos * w_pos == pytest.approx(balanced.lam_neg * w_neg), "the learner's classes weigh the same"


def test_a_learner_that_played_in_no_game_is_told(tmp_path):
    actions, _ = credited(OPPOSED, 10)
    with pytest.raises(NothingToLearn, match=r"an opponent's.*what is missing was said by opponents"):
        balance(actions, learner="somebody else")


def test_in_self_play_everybody_is_the_learner():
    actions, _ = credited(NAIVE, 10)
    whole, mine = balance(actions, "all"), balance(actions, "all", learner=NAIVE.name)
    pd.testing.assert_frame_equal(whole.actions, mine.actions)
    assert mine.reasons.loc["an opponent's"].sum() == 0


def test_no_token_of_an_opponent_is_trained(adapters):
    with player(adapters).seated() as together:
        actions, dialogues = credited(together, 8)
        balanced = balance(actions, "all", learner=learner(together))
    corpus = make_corpus(dialogues, balanced.actions)
    who = actions.set_index(["game", "seat"])["policy"].groupby(level=[0, 1]).first()
    trained = {who[game, seat] for game, seat in zip(corpus.actions["game"], corpus.actions["seat"], strict=True)}
    assert trained == {learner(together)}
    assert len(corpus.actions) == (actions["policy"] == learner(together)).sum()
    assert set(corpus.actions["faction"]) == {"civilian", "culprit"}


# --- round by round ----------------------------------------------------------------------------------


@pytest.fixture
def two_rounds(outputs) -> None:
    for run, policies in (("cpu", NAIVE), ("cpu/round_2", OPPOSED)):
        play(games(), policies, folder=artefact(run, "rollout"))
        end(run, "02_rollout", {"games": 40, "learner": learner(policies)})
    learn("cpu")
    end("cpu", "05_maro_training", {"steps": 9})


def test_wins_are_those_of_the_learner(two_rounds):
    wins = wins_by_round("cpu", 3)
    assert [w.n for w in wins["civilian"]] == [40, 20, 0]
    assert [w.n for w in wins["culprit"]] == [40, 20, 0]
    assert wins["civilian"][0].mean + wins["culprit"][0].mean == pytest.approx(1)
    table = needs("cpu/round_2", "rollout")
    mine = [s[0] == SKILLED.name for s in sides(pd.read_parquet(table / "shard-00000" / "games.parquet"))]
    won = pd.read_parquet(table / "shard-00000" / "games.parquet")["winner"] == "civilian"
    assert wins["civilian"][1].mean == pytest.approx(won[mine].mean())
    assert wins["culprit"][1].mean == pytest.approx(1 - won[[not m for m in mine]].mean())


def test_rounds_are_drawn_with_interval_and_n():
    rates = {"civilians": [Rate(0.3, 0.2, 0.4, 100), Rate(0.5, 0.4, 0.6, 50)], "culprits": [Rate(0.7, 0.6, 0.8, 100)]}
    ax = plot_rounds(rates, "Civilians catch up", "games won, %").axes[0]
    assert [list(line.get_ydata()) for line in ax.lines] == [[30, 50], [70]]
    assert [[round(x) for x in line.get_xdata()] for line in ax.lines] == [[1, 2], [1]]
    assert [p.vertices[:, 1].tolist() for p in ax.collections[0].get_paths()] == [
        pytest.approx([20, 40]),
        pytest.approx([40, 60]),
    ]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["civilians (n = 50 to 100)", "culprits (n = 100)"]
    assert list(ax.get_xticks()) == [1, 2]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("round (bars: 95 % intervals)", "games won, %")
