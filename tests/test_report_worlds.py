"""A run of experiments, or of other worlds' games, gets a page of its own: its question, its numbers, no mystery."""

import json
import re
from html import unescape

import pandas as pd
import pytest
from test_report import ATTACK
from worlds import Says

from maro_lib.fingerprints import Fingerprint
from maro_lib.play.policies import RANDOM, SKILLED, Mixture
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_table
from maro_lib.runs import run_folder
from maro_lib.show.noted import said_value
from maro_lib.show.report import write_report
from maro_lib.show.report_worlds import GAMES_TOLD
from maro_lib.show.watch import write_watch
from maro_lib.summary import StageRecord, Summary, in_brief, read_summary, write_summary
from maro_lib.worlds.registry import find_world, scenarios

OF_MYSTERIES = ("murder", "myster", "culprit", "civilian", "suspic", "accused", "victory", "not measured")


@pytest.fixture(autouse=True)
def outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))


def staged(run, stage, headline, question="Is it **one** game?"):
    """A run as a series leaves it that ran one notebook."""
    run_folder(run).mkdir(exist_ok=True)
    cell = {"source": [f"# A title ({ATTACK})\n", "\n", f"**{question}**\n", "\n", "Text."]}
    (run_folder(run) / f"{stage}.ipynb").write_text(json.dumps({"cells": [cell]}))
    empty = Fingerprint(library="", parameters={}, inputs={}, versions={}, cells="")
    record = StageRecord(status="ran", fingerprint=empty, notebook=f"{stage}.ipynb", headline=headline)
    parameters = {"model": "embedded", "rule": "uniform", "mode": "min", "seed": 3}
    write_summary(Summary(run=run, stages={stage: record}, parameters=parameters))


def cells(page, heading) -> list[list[str]]:
    """The rows of the first table behind a heading, as text."""
    table = re.search(r"<table[^>]*>(.*?)</table>", page[page.index(f"<h2>{heading}") :], re.DOTALL)[1]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL) for line in table.split("</tr>") if line]
    return [[unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in rows]


def test_a_run_of_notebook_14_alone_asks_its_question_and_tells_what_it_found():
    staged("x", "14_worlds", {"commons, skilled minus random, points": 97.5, "greedy, own payoff": 7.5, "n": 4})
    table = pd.DataFrame({"world": ["commons", "buying"], "random": [2.5, 40.0], "skilled": [100.0, 80.0]})
    table.to_parquet(run_folder("x") / "worlds.parquet")
    page = write_report("x").read_text(encoding="utf-8")
    assert re.findall("<h1>(.*?)</h1>", page) == ["Is it one game?"]
    assert not [word for word in OF_MYSTERIES if word in page.casefold()]
    about = find_world("commons")
    assert cells(page, "Every world")[1] == ["commons", "2.5", "100.0", "+97.5", about.question, about.success]
    found = cells(page, "What notebook 14 found")
    assert found[1:] == [["commons, skilled minus random, points", "97.5"], ["greedy, own payoff", "7.500"], ["n", "4"]]
    assert "run x · seed 3</p>" in page, "what other notebooks would have used is not told as done"
    assert in_brief(read_summary("x")[0]) == ["Is it one game?"]
    assert read_summary("x")[0].report["What notebook 14 found"]["greedy, own payoff"] == 7.5


def test_a_notebook_that_cant_be_read_costs_its_question_alone():
    staged("x", "14_worlds", {"n": 4})
    (run_folder("x") / "14_worlds.ipynb").write_text("{")
    assert "<h1>What did its notebooks find?</h1>" in write_report("x").read_text(encoding="utf-8")


def test_a_run_of_the_method_asks_its_own_question_and_tells_of_experiments_too():
    staged("x", "14_worlds", {"n": 4})
    summary = read_summary("x")[0]
    stages = {"02_rollout": summary.stages["14_worlds"].model_copy(update={"headline": {"games": 9}}), **summary.stages}
    write_summary(summary.model_copy(update={"stages": stages}))
    page = write_report("x").read_text(encoding="utf-8")
    assert "Does playing murder mysteries" in page
    assert cells(page, "What notebook 14 found")[1:] == [["n", "4"]]
    assert "What notebook 02 found" not in page
    assert "model embedded" in page


@pytest.mark.parametrize("world", ["commons", "buying", "donor"])
def test_games_of_another_world_are_told_with_its_own_columns(world):
    folder = run_folder("w") / "people"
    play(schedule(scenarios(world, 3, 0), 6, 0), Mixture(0.7), folder=folder)
    write_summary(Summary(run="w"))
    write_watch("w")
    page = write_report("w").read_text(encoding="utf-8")
    assert re.findall("<h1>(.*?)</h1>", page) == [find_world(world).question]
    assert not [word for word in OF_MYSTERIES if word in page.casefold()]
    games = read_table(folder, "games")
    head, *rows = cells(page, "Games of other worlds")
    assert [row[0] for row in rows] == list(games["game"])
    assert page.count('href="watch.html#game=people/') == len(games)
    for row, (_, game) in zip(rows, games.iterrows(), strict=True):
        told = dict(zip(head, row, strict=True))
        got = zip(game["players"], game["payoffs"], strict=True)
        assert told["who got what"] == ", ".join(f"{name} {said_value(payoff)}" for name, payoff in got)
        assert told["reached their goal"] == f"{sum(game['success'])} of {len(game['success'])}"
        for name, (kind, _) in find_world(world).columns["games"].items():
            assert kind.startswith("list") or told[name.replace("_", " ")] == said_value(game[name])
    told = read_summary("w")[0].report["Games of other worlds"]
    assert told == {f"people: {world}": {"games": 6, "reached": pytest.approx(games["success"].explode().mean()),
                                         "payoff": pytest.approx(games["payoffs"].explode().mean())}}  # fmt: skip
    assert f"{100 * games['success'].explode().mean():.0f} % of the seats reached their goal" in page
    assert all(f": {meaning}" in unescape(page) for kind, meaning in find_world(world).columns["games"].values()
               if not kind.startswith("list"))  # fmt: skip


def test_of_many_games_the_first_are_shown_and_how_many_there_are():
    play(schedule(scenarios("commons", 3, 0), GAMES_TOLD + 5, 0), SKILLED, folder=run_folder("w") / "rollout")
    write_summary(Summary(run="w"))
    page = write_report("w").read_text(encoding="utf-8")
    assert len(cells(page, "Games of other worlds")) == 1 + GAMES_TOLD
    assert f"The first {GAMES_TOLD} of {GAMES_TOLD + 5} games." in page
    assert "watch.html" not in page, "there is no page for that"


def test_games_of_mysteries_are_not_told_as_another_worlds(small_world):
    play(schedule([small_world], 2, 0), RANDOM, folder=run_folder("m") / "rollout")
    write_summary(Summary(run="m"))
    page = write_report("m").read_text(encoding="utf-8")
    assert "Games of other worlds" not in page
    assert "Does playing murder mysteries" in page


def test_what_players_are_called_is_text():
    evil = Says(ATTACK, lambda r: SKILLED.act([r])[0].text)
    play(schedule(scenarios("commons", 1, 0), 1, 0), evil, folder=run_folder("w") / "rollout")
    write_summary(Summary(run="w"))
    page = write_report("w").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img src=x" in page
