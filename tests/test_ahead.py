"""Ahead: several processes play the same games as one, each once, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest

from maro_lib.embedded import HOME
from maro_lib.measure.matches import LineUp
from maro_lib.model import Player, ahead
from maro_lib.model.ahead import play_shares
from maro_lib.play import play, schedule
from maro_lib.play.rollout import games_folder
from maro_lib.world import Rules, generate_many

PLAYER = Player(precision="float64", max_new_tokens=24, cache_gb=0.2)
COLUMNS = ["game", "order", "step", "agent", "kind", "text"]


def some_games(n: int = 16):
    return schedule(generate_many(4, 11, HOME), n, 3, Rules(rounds=1))


@pytest.fixture(scope="module")
def alone() -> pd.DataFrame:
    with PLAYER.seated() as players:
        return play(some_games(), players).table("actions")[COLUMNS]


def played_ahead(folder) -> pd.DataFrame:
    """The games as they lie there after `play_shares`; there is nothing left to play."""
    with PLAYER.seated() as players:
        play_shares(some_games(), PLAYER, players, folder)
        found = play(some_games(), players, folder=folder)
    assert found.n_resumed == 16
    assert [p.name for p in folder.parent.glob(".rollout-*")] == []
    return found.table("actions")[COLUMNS]


def test_what_lies_there_already_is_not_played_again_and_nothing_is_there_twice(tmp_path, alone):
    folder, share = tmp_path / "rollout", tmp_path / ".rollout-0"
    with PLAYER.seated() as players:
        play(some_games(4), players, folder=folder)
        play(some_games(8), players, folder=share, shard_size=2)
        with games_folder(some_games(), players, folder) as shards:
            shards.adopt(share)
            assert set(range(4)) < shards.done() <= set(range(8)), "a shard with a game that is here is left"
        pd.testing.assert_frame_equal(play(some_games(), players, folder=folder).table("actions")[COLUMNS], alone)


def test_processes_together_keep_and_play_at_a_time_what_one_would(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(ahead, "run_tasks", lambda shares, n, show: given.extend(shares))
    share = ahead.Share(some_games(2), PLAYER, tmp_path, concurrency=31)
    ahead.play_all([share, replace(share, player=LineUp(PLAYER, "civilian"))], 2)
    assert [s.concurrency for s in given] == [16, 16]
    assert [given[0].player.cache_gb, given[1].player.trained.cache_gb] == [0.1, 0.1]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: nothing is played ahead")
def test_shares_are_the_games_of_one_process_and_a_kill_loses_none(tmp_path, alone):
    script = (
        "from test_ahead import *\n"
        "if __name__ == '__main__':\n"
        f"    played_ahead(ahead.Path({str(tmp_path / 'rollout')!r}))\n"
    )
    (tmp_path / "caller.py").write_text(script)
    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    caller = subprocess.Popen([sys.executable, tmp_path / "caller.py"], env=os.environ | {"PYTHONPATH": paths})
    for _ in range(600):
        if any(tmp_path.glob(".rollout-*/request.json")) or caller.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(0.3)
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    time.sleep(1.0)  # its processes see that it is gone
    pd.testing.assert_frame_equal(played_ahead(tmp_path / "rollout"), alone)


@pytest.mark.parametrize(("player", "n_games"), [(Player("random"), 64), (PLAYER, 3)], ids=["scripted", "few"])
def test_scripted_players_and_a_few_games_play_in_one_process(tmp_path, monkeypatch, player, n_games):
    """That of `play`, which comes after: nothing is played ahead of it, and no process is started."""
    started = []
    monkeypatch.setattr(ahead, "run_tasks", lambda shares, *_: started.extend(shares))
    with player.seated() as players:
        play_shares(some_games(n_games), player, players, tmp_path / "rollout")
        assert started == []
        assert play(some_games(n_games), players, folder=tmp_path / "rollout").n_resumed == 0
