"""Side by side: all that is asked comes back, in order; what fails is told; nothing outlives its caller."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from tasks_side_by_side import Killed, Sleeper, SlowToEnd, Square
from test_matches import some_games
from test_models import lora
from test_training import BASIC, assert_same, corpus

from maro_lib.learn import launching, train
from maro_lib.learn.balancing import shuffle_labels
from maro_lib.learn.launching import Job, train_ahead
from maro_lib.measure import matches
from maro_lib.measure.matches import match, play_ahead
from maro_lib.model import Player, load
from maro_lib.side_by_side import SideBySideError, run_tasks


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int, within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while is_there(pid) and time.monotonic() < end:
        time.sleep(0.1)
    return not is_there(pid)


def test_results_come_in_order_from_processes_of_one_thread_each():
    heard = []
    results = run_tasks([Square(n) for n in range(5)], 2, lambda *news: heard.append(news))
    squares, pids, threads = zip(*results, strict=True)
    assert squares == (0, 1, 4, 9, 16)
    assert sorted(heard) == [(n, n) for n in range(5)]
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert set(threads) == {"1"}


def test_processes_end_without_a_word(capfd):
    for _ in range(5):
        run_tasks([Square(n) for n in range(4)], 2)
    assert capfd.readouterr().err == ""


def test_what_fails_is_told_and_the_others_end():
    pids = []
    with pytest.raises(SideBySideError, match="ValueError: -3 has no side"):
        run_tasks([Sleeper(), Square(-3)], 2, lambda k, pid: pids.append(pid) if k == 0 else None)
    assert all(map(gone, pids))


def test_a_process_that_is_killed_is_told():
    with pytest.raises(SideBySideError, match="a process ended early"):
        run_tasks([Killed()], 1)


def test_a_process_that_is_ending_hears_of_no_second_signal(capfd):
    def stop_twice(_, pid):
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.5)

    with pytest.raises(SideBySideError, match="a process ended early"):
        run_tasks([SlowToEnd()], 1, stop_twice)
    assert capfd.readouterr().err == ""


@pytest.fixture
def caller(tmp_path):
    """A process, leader of its group as under a terminal, with two others that sleep for it; and their ids."""
    script = (
        "from tasks_side_by_side import Sleeper\nfrom maro_lib.side_by_side import run_tasks\n"
        "if __name__ == '__main__':\n"
        "    run_tasks([Sleeper(), Sleeper()], 2, lambda _, pid: print(pid, flush=True))\n"
    )
    (tmp_path / "caller.py").write_text(script)
    paths = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    caller = subprocess.Popen(
        [sys.executable, tmp_path / "caller.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": paths}, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores Ctrl-C
    )  # fmt: skip
    pids = [int(caller.stdout.readline()) for _ in range(2)]
    assert all(map(is_there, pids))
    return caller, pids


def test_nothing_outlives_a_caller_that_is_killed(caller):
    process, pids = caller
    process.kill()
    process.wait()
    assert all(map(gone, pids))


def test_an_interrupt_from_the_terminal_is_the_callers_alone(caller):
    process, pids = caller
    for pid in pids:  # Ctrl-C reaches everybody
        os.kill(pid, signal.SIGINT)
    time.sleep(0.5)
    assert all(map(is_there, pids)), "who works waits for what the caller says"
    os.kill(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert said.count("Traceback") == 1, said
    assert all(map(gone, pids))


def test_trainings_side_by_side_learn_what_they_learn_in_turn(tmp_path, monkeypatch):
    """The adapters are the same, to the rounding of another number of threads; `train` has nothing left to do."""
    blind = replace(corpus(), actions=shuffle_labels(corpus().actions, 0))
    settings = replace(BASIC, epochs=1)
    loaded, told = load("embedded", precision="float32"), []
    jobs = [
        Job("embedded", "float32", "", given, settings, tmp_path / "ahead" / name)
        for name, given in (("learning", corpus()), ("control", blind))
    ]
    monkeypatch.setattr(type(loaded), "n_side_by_side", 2)
    train_ahead(jobs, loaded, told.append)
    assert not told, "few dialogues are not worth a process"
    monkeypatch.setattr(launching, "FEW", 0)
    train_ahead(jobs, loaded, told.append)
    assert told, "the curve is shown as it grows"
    for job in jobs:
        before = (job.folder / "done.json").stat().st_mtime_ns
        ahead = train(loaded, job.corpus, settings, job.folder)
        assert (job.folder / "done.json").stat().st_mtime_ns == before, "it was found done"
        assert_same(ahead, train(loaded, job.corpus, settings, tmp_path / "in turn" / job.folder.name))


def test_line_ups_played_ahead_are_found_played(tmp_path, monkeypatch):
    loaded = load("embedded", precision="float32")
    lora(loaded.model).save_pretrained(tmp_path / "adapter")
    loaded = load("embedded", precision="float32", adapter=str(tmp_path / "adapter"))
    monkeypatch.setattr(type(loaded), "n_side_by_side", 2)
    games = some_games(2)
    player = Player(precision="float32", max_new_tokens=40)
    play_ahead(games, player, loaded, {tmp_path / "ahead": str(tmp_path / "adapter")})
    assert not (tmp_path / "ahead").exists(), "few games are not worth a process"
    monkeypatch.setattr(matches, "WORTH", 1)
    play_ahead(games, player, loaded, {tmp_path / "ahead": str(tmp_path / "adapter")})
    played = {who: (tmp_path / "ahead" / who / "shard-00000").stat().st_mtime_ns for who in ("civilian", "culprit")}
    both = ("civilian", "culprit")
    ahead = match(games, player.playing(loaded), folder=tmp_path / "ahead", line_ups=both)
    assert played == {who: (tmp_path / "ahead" / who / "shard-00000").stat().st_mtime_ns for who in both}
    assert not list((tmp_path / "ahead").glob("*/shard-00001")), "nothing was left to play"
    assert ahead.equals(match(games, player.playing(loaded), line_ups=both))
