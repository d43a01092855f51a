"""The pulse: while a stage runs, a log says how far it is."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest

from maro_lib.play.policies import NAIVE, SKILLED, Styled
from maro_lib.play.rollout import play, schedule
from maro_lib.run.pulse import games_since, how_far, pulse, training_since
from maro_lib.runs import run_folder
from maro_lib.world.mystery import Rules
from maro_lib.worlds import scenarios


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    return "a"


def test_games_are_counted_as_they_reach_the_disk_and_those_before_are_not(run, small_world):
    games = schedule([small_world], 4, 0, Rules(rounds=1))
    began = time.time()
    assert games_since(run, began) == ""
    winners = play(games, {"civilian": SKILLED, "culprit": NAIVE}, folder=run_folder(run) / "rollout").table("games")
    share = 100 * (winners["winner"] == "civilian").mean()
    said = games_since(run, began)
    assert said.startswith("4 games, won by ")
    assert f"civilian {share:.0f} %" in said or not share
    assert games_since(run, time.time() + 5) == ""


def test_a_training_is_told_by_its_last_checkpoint(run):
    began = time.time()
    for step, loss in ((4, 0.5), (8, 0.25)):
        folder = run_folder(run) / "learning" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        log = [{"step": step, "objective": loss, "margin": 0.125}, {"step": step, "legal": 1.0}]
        state = {"global_step": step, "max_steps": 19, "log_history": log}
        (folder / "trainer_state.json").write_text(json.dumps(state))
        os.utime(folder / "trainer_state.json", (began + step, began + step))
    assert training_since(run, began) == "learning: step 8 of 19, loss 0.250, margin +0.12"
    assert training_since(run, began + 9) == "", "of a run before"
    (folder / "trainer_state.json").write_text('{"global_')
    os.utime(folder / "trainer_state.json", (began + 8, began + 8))
    assert training_since(run, began) == "", "half-written: the next time"


def test_what_is_left_is_what_the_last_time_took_less_what_is_spent(run):
    began = time.time() - 120
    assert how_far(run, began, left=600) == "2.0 min; about 8.0 min left of all"
    assert how_far(run, began, left=60) == "2.0 min", "it takes longer than the last time"
    assert how_far(run, began, left=0) == "2.0 min", "not known"


def test_it_beats_until_the_stage_ends_also_with_an_error(run, capsys):
    with contextlib.suppress(ZeroDivisionError), pulse(run, "[1/2] 02_rollout", every=0.02):
        time.sleep(0.2)
        raise ZeroDivisionError
    said = capsys.readouterr().out
    assert said.count("[1/2] 02_rollout: less than a second") >= 2
    time.sleep(0.1)
    assert capsys.readouterr().out == ""
    with pulse(run, "short"):
        pass
    assert capsys.readouterr().out == "", "a stage of less than a minute says nothing"


LINES = {
    "a series": "from maro_lib.run.pulse import pulse\nwith pulse('none', 'stage', every=0.1): time.sleep(60)",
    "a launched training": "import pandas; from maro_lib.learn.training_process import Teller\n"
    "Teller()(pandas.DataFrame({'step': [1.0]})); time.sleep(60)",
}


@pytest.mark.parametrize("code", LINES.values(), ids=LINES)
def test_a_line_reaches_a_log_at_once(code):
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", f"import time; {code}"], stdout=subprocess.PIPE, env=env) as process:
        line = process.stdout.readline()
        process.kill()
    assert line.startswith(b"st")
    assert time.monotonic() - began < 55, "only when it had ended"


def test_a_damaged_shard_does_not_silence_it(run, small_world):
    play(schedule([small_world], 1, 0, Rules(rounds=1)), SKILLED, folder=run_folder(run) / "rollout")
    began = time.time() - 60
    (table,) = run_folder(run).rglob("shard-*/games.parquet")
    table.write_bytes(b"PAR1")
    assert how_far(run, began, left=0).endswith("60 s"), "the stage that reads it says so"


def test_games_of_a_world_without_sides_are_told_by_the_seats_that_reached_their_goal(run):
    began = time.time()
    games = schedule(scenarios("commons", 2, 0), 2, 0)
    table = play(games, Styled("fair"), folder=run_folder(run) / "rollout").table("games")
    share = 100 * table["success"].explode().astype(float).mean()
    assert games_since(run, began) == f"2 games, {share:.0f} % of seats reached their goal"
    play(schedule(scenarios("trust", 1, 0), 1, 0), Styled("fair"), folder=run_folder(run) / "other")
    assert games_since(run, began) == "3 games of 2 worlds"
