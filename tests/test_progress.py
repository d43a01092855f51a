"""A bar is seen while something runs, and leaves nothing behind: not in a notebook, not in a terminal."""

import io
import re
from collections.abc import Callable, Iterator

import pytest
from jupyter_client.manager import run_kernel

from maro_lib.play.policies import RANDOM
from maro_lib.play.rollout import play, schedule
from maro_lib.progress import WATCHED, Bar, in_view
from maro_lib.world.generator import generate_many

SAID = "text/plain"
WALK = """
from maro_lib.progress import Bar
with Bar(3, "game", shown=True, mininterval=0.0) as bar:
    for k in range(3):
        bar.reach(k + 0.5, f"{k} done")
        bar.update(0.5)
"""
CURVES = """
import pandas as pd
from maro_lib.show.figures import watching
with watching(True, 9, seconds=0.0) as live:
    for k in (1, 2):
        step = list(range(k + 1))
        live(pd.DataFrame({"step": step, "objective": 0.5, "r_pos": 0.0, "r_neg": 0.0, "margin": 0.0, "z0": 0.0}))
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Callable[[str], list[tuple[str, dict]]]]:
    """A real kernel: what it sends to whoever shows a notebook, when it runs code."""
    with pytest.MonkeyPatch.context() as environment:  # this environment's kernel, not the user's other one
        environment.setenv("JUPYTER_PREFER_ENV_PATH", "1")
        with run_kernel() as client:

            def sent_by(code: str) -> list[tuple[str, dict]]:
                sent = []
                client.execute_interactive(code, output_hook=sent.append, timeout=60)
                kinds = ((m["msg_type"], m["content"]) for m in sent)
                return [(kind, what) for kind, what in kinds if kind not in ("status", "execute_input")]

            yield sent_by


def test_bar_moves_under_its_cell_and_is_gone_at_the_end(run):
    (first, placed), *changes = run(WALK)
    assert (first, placed["data"]) == ("display_data", {SAID: ""}), "what nbval compares: it is stored, and empty"
    assert {kind for kind, _ in changes} == {"update_display_data"}, "nothing is printed"
    shown = [what["data"][SAID] for _, what in changes]
    assert "0/3" in shown[0]
    assert any("3/3" in line and "2 done" in line for line in shown)
    assert shown[-1] == ""
    assert {what["transient"]["display_id"] for _, what in changes} == {placed["transient"]["display_id"]}


def test_bar_is_gone_after_an_error_too(run):
    failing = WALK.replace("bar.update(0.5)", "raise ValueError('on the way')")
    sent = run(failing)
    (_, placed), *changes, (last, error) = sent
    assert placed["data"] == {SAID: ""}
    assert changes[-1][1]["data"] == {SAID: ""}
    assert (last, error["evalue"]) == ("error", "on the way")


def test_bar_that_is_not_wanted_leaves_no_place(run):
    assert run(WALK.replace("shown=True", "shown=False")) == []
    assert run("import maro_lib.show.figures as f\nwith f.watching(False, 9) as live: assert live is None") == []


def test_curves_are_drawn_again_and_again_and_are_gone_at_the_end(run):
    (_, placed), *changes = run(CURVES)
    assert placed["data"] == {SAID: ""}
    assert ["image/png" in what["data"] for _, what in changes] == [True, True, False]
    assert changes[-1][1]["data"] == {SAID: ""}


def test_in_a_notebook_that_a_terminal_watches_the_bar_goes_to_stderr(run):
    run(f"import os; os.environ[{WATCHED!r}] = '1'")
    try:
        sent = run(WALK)
        steps = run(CURVES)
    finally:
        run(f"del os.environ[{WATCHED!r}]")
    for unit, told in (("game", sent), ("step", steps)):
        assert {(kind, what["name"]) for kind, what in told} == {("stream", "stderr")}
        assert unit in "".join(what["text"] for _, what in told)


def test_outside_a_notebook_the_bar_is_a_line_that_is_wiped():
    assert not in_view()
    stderr = io.StringIO()
    with Bar(2, "game", shown=True, file=stderr) as bar:
        bar.update(2)
    *_, before, last = stderr.getvalue().split("\r")
    assert "0/2" in stderr.getvalue()
    assert not before.strip()
    assert last == ""


def test_a_note_is_seen_while_nothing_is_finished():
    stderr = io.StringIO()
    with Bar(2, "game", shown=True, file=stderr, mininterval=0.0) as bar:
        bar.reach(0.5, "17 actions")
    assert "25%" in stderr.getvalue(), "what is half done counts"
    assert "0/2" in stderr.getvalue()
    assert "17 actions" in stderr.getvalue()


def test_notes_draw_no_more_often_than_the_bar():
    stderr = io.StringIO()
    with Bar(2, "game", shown=True, file=stderr, mininterval=60.0) as bar:
        before = stderr.getvalue()
        for k in range(1000):
            bar.reach(k / 1000, f"{k} actions")
        assert stderr.getvalue() == before
    Bar(2, "game", shown=False).reach(1, "nobody sees it")


def test_games_that_all_run_at_once_still_show_how_far_they_are(capsys):
    games = schedule(generate_many(4, seed=0), 4, seed=0)
    reached, told = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bar, "reach", lambda _, n, note: reached.append(n) or told.append(note))
        play(games, RANDOM, concurrency=4, progress=True)
    assert reached == sorted(reached)
    assert len(set(reached)) > 20, "long before the first game is over"
    assert reached[-1] == 4
    rounds = [int(re.search(r"slowest in round (\d+)", note)[1]) for note in told]
    assert rounds == sorted(rounds)
    assert (rounds[0], rounds[-1]) == (0, games[0].rules.rounds)
    assert "\r" in capsys.readouterr().err
