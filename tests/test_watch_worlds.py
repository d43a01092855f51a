"""Games of other worlds on the page: who got what, who reached the goal, what the world notes; no word of a mystery."""

import base64
import gzip
import json
import re

import numpy as np
import pandas as pd
import pytest
from test_report import ATTACK
from test_watch import browser, choose, listed, opened  # noqa: F401 - fixtures

from maro_lib.play.policies import SKILLED, Mixture
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_table
from maro_lib.runs import run_folder
from maro_lib.show.game_sets import GameSet
from maro_lib.show.noted import by_seat, own_columns, said_value
from maro_lib.show.watch import watch_page, write_watch
from maro_lib.worlds.registry import WORLDS, find_world, scenarios

THERE = [name for name in WORLDS if name != "textarena"]
OF_MYSTERIES = ("culprit", "accused", "winner", "won by", "guilty", "suspic", "suspect")


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run with games of every world, each in a set of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARO_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        for world in THERE:
            folder = run_folder("every") / world / "rollout"
            play(schedule(scenarios(world, 3, 0), 6, 0), Mixture(0.7), folder=folder)
        write_watch("every")
        yield run_folder("every")


def tables(folder, world) -> tuple[pd.DataFrame, pd.DataFrame]:
    return read_table(folder / world / "rollout", "games"), read_table(folder / world / "rollout", "actions")


def one_set(folder, world, **changed) -> GameSet:
    games, actions = tables(folder, world)
    return GameSet(f"{world}/rollout", changed.get("games", games), changed.get("actions", actions))


def unpacked(page: str, name: str):
    """What a page holds under a name, without a browser."""
    block = re.search(f'id="{name}">([^<]*)<', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(block)))


def test_a_page_holds_what_a_world_notes_and_no_winner(played):
    games, actions = tables(played, "commons")
    page = watch_page("x", [one_set(played, "commons")])
    index, (game, *_) = unpacked(page, "index"), unpacked(page, "chunk-0")
    assert {*index["games"]["winner"]} == {None}
    assert index["games"]["reached"] == [sum(s) for s in games["success"]]
    assert game["payoffs"] == list(games["payoffs"].iloc[0])
    assert game["facts"] == {name: str(games[name].iloc[0]) for name in ("stock", "survived", "overused")}
    assert game["by_seat"] == {"catches": [str(x) for x in games["catches"].iloc[0]]}
    rows = actions[actions["game"] == games["game"].iloc[0]].sort_values("step")
    assert game["actions"]["note got"] == ["" if np.isnan(x) else f"{x:g}" for x in rows["got"]]
    assert index["worlds"]["commons"]["success"] == find_world("commons").success


def seats_told(tab) -> list[list[str]]:
    return tab.locator(".results tr").evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent))")


@pytest.mark.parametrize("world", [name for name in THERE if name != "mystery"])
def test_a_reader_sees_who_got_what_and_who_reached_the_goal(opened, played, world):  # noqa: F811
    games, _ = tables(played, world)
    game = games.iloc[1]
    tab = opened(f"{(played / 'watch.html').as_uri()}#game={world}/rollout/{game['game']}&step=0")
    head, *rows = seats_told(tab)
    told = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["player"] for row in told] == list(game["players"])
    assert [float(row["got"].replace("−", "-")) for row in told] == pytest.approx(list(game["payoffs"]), rel=5e-3)
    assert [row["goal"] for row in told] == [("missed", "reached")[s] for s in game["success"]]
    assert tab.locator(".results table").is_visible(), "without a click"
    assert tab.locator("header b").first.inner_text() == f"{sum(game['success'])} of {len(told)} reached their goal."
    assert find_world(world).success in tab.locator("header").inner_text()
    article = tab.locator("article").inner_text().casefold()
    assert not [word for word in OF_MYSTERIES if word in article]
    bars = tab.locator("svg[aria-label='who got what'] rect")
    assert bars.count() == len(told)
    assert bars.evaluate_all("all => all.filter(e => e.classList.contains('missed')).length") == len(told) - sum(
        game["success"]
    )


@pytest.mark.parametrize("world", [name for name in THERE if name != "mystery"])
def test_all_that_a_world_notes_is_on_the_page_with_its_meaning(opened, played, world):  # noqa: F811
    games, actions = tables(played, world)
    game = games.iloc[1]
    tab = opened(f"{(played / 'watch.html').as_uri()}#game={world}/rollout/{game['game']}&step=0")
    chips = dict(
        tab.locator("header p:nth-of-type(2) .chip").evaluate_all("all => all.map(e => [e.textContent, e.title])")
    )
    payoffs = [said_value(x) for x in game["payoffs"]]
    for name, meaning in own_columns(world, "games", games).items():
        seats = by_seat(game[name], len(game["players"]))
        if seats is None and (said := said_value(game[name])):
            assert chips[f"{name.replace('_', ' ')} {said}"] == meaning
        elif seats and seats != payoffs:
            head, *rows = seats_told(tab)
            assert [row[head.index(name.replace("_", " "))] for row in rows] == seats
    own = own_columns(world, "actions", actions)
    rows = actions[actions["game"] == game["game"]].sort_values("step")
    noted = [
        [f"{name.replace('_', ' ')} {said}" for name in own if (said := said_value(row[name]))]
        for _, row in rows.iterrows()
    ]
    shown = tab.locator(".move").evaluate_all(
        "all => all.map(m => [...m.querySelectorAll('.chip[title]')].map(e => e.textContent))"
    )
    assert shown == noted
    assert world == "coordination" or any(noted), "something is noted of moves"


def test_filters_are_of_the_worlds_that_are_there(opened, played, tmp_path):  # noqa: F811
    tab = opened((played / "watch.html").as_uri())
    choose(tab, "world", "commons")
    assert listed(tab) == [f"commons/rollout/{g}" for g in tables(played, "commons")[0]["game"]]
    choose(tab, "world", "")
    reached = {
        f"{world}/rollout/{g.game}": np.mean(g.success)
        for world in THERE if world != "mystery" for g in tables(played, world)[0].itertuples()
    }  # fmt: skip
    for value, is_kept in (
        ("all", lambda share: share == 1), ("some", lambda share: 0 < share < 1), ("none", lambda share: share == 0),
    ):  # fmt: skip
        choose(tab, "goals", value)
        assert {*listed(tab)} == {name for name, share in reached.items() if is_kept(share)}
        assert listed(tab), "each of them happens here"
    (tmp_path / "page.html").write_text(watch_page("x", [one_set(played, "commons")]), encoding="utf-8")
    alone = opened((tmp_path / "page.html").as_uri())
    page = alone.locator("body").inner_text().casefold()
    assert not [word for word in OF_MYSTERIES if word in page], "not in a filter either"
    labels = alone.locator("select").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert labels[:4] == ["played", "goals", "scenario", "order"]
    choose(alone, "order", "most payoff in all first")
    games = tables(played, "commons")[0].set_index("game")["payoffs"].map(sum)
    assert [games[name.rpartition("/")[2]] for name in listed(alone)] == sorted(games, reverse=True)


def test_a_mysterys_page_has_nothing_of_other_worlds(opened, played, tmp_path):  # noqa: F811
    (tmp_path / "page.html").write_text(watch_page("x", [one_set(played, "mystery")]), encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    assert tab.locator("select[aria-label='won by']").count() == 1
    assert tab.locator("select[aria-label='goals'], select[aria-label='world'], .results, .bar").count() == 0


def test_pictures_say_how_noted_numbers_went_and_who_was_aimed_at(opened, played):  # noqa: F811
    games, actions = tables(played, "donor")
    game = games["game"].iloc[1]
    gave = actions[(actions["game"] == game) & (actions["kind"] == "give") & actions["legal"]]
    last = int(actions.loc[actions["game"] == game, "step"].max())
    tab = opened(f"{(played / 'watch.html').as_uri()}#game=donor/rollout/{game}&step={last}")
    means = gave.groupby("agent")["amount"].mean()
    said = tab.locator("figcaption").all_inner_texts()
    assert said[1] == f"amount: most by {means.idxmax()} ({float(f'{means.max():.3g}'):g} on average)"
    assert tab.locator("svg[aria-label='amount over time'] circle").count() == len(gave)
    pairs = gave.drop_duplicates(["agent", "target"])
    assert tab.locator("path.edge").count() == len(pairs)
    tab.locator("input[type=range]").fill("0")
    assert tab.locator("figcaption").all_inner_texts()[1:] == [
        "amount: nothing yet", "had: nothing yet", "Nobody has aimed anything at anybody yet",
    ]  # fmt: skip
    tab.locator("input[type=range]").fill(str(gave["step"].min()))
    assert tab.locator("path.edge").count() == 1


def test_hostile_names_of_worlds_and_columns_do_nothing(opened, played, tmp_path):  # noqa: F811
    games, actions = tables(played, "commons")
    games = games.rename(columns={"stock": ATTACK, "survived": "constructor", "overused": "__proto__"})
    games = games.assign(world=ATTACK, catches=[[ATTACK] * 4] * len(games))
    actions = actions.rename(columns={"amount": ATTACK, "got": "constructor"}).assign(kind="toString")
    actions[ATTACK] = ATTACK
    page = watch_page("x", [one_set(played, "commons", games=games, actions=actions)])
    assert "<img" not in page
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    tab.keyboard.press("ArrowRight")
    assert tab.locator("img").count() == 0
    assert tab.locator(".move .chip", has_text="<img src=x").first.is_visible(), "shown as the text that it is"
    assert tab.locator(".results td", has_text="<img src=x").first.is_visible()
    assert tab.locator("header .chip", has_text="constructor").get_attribute("title") == ""


def test_a_world_that_is_not_here_shows_what_its_tables_hold(opened, played, tmp_path):  # noqa: F811
    games, actions = tables(played, "commons")
    page = watch_page("x", [one_set(played, "commons", games=games.assign(world="gone"), actions=actions)])
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    assert tab.locator("header .chip", has_text="stock").count() == 1
    assert "The goal" not in tab.locator("header").inner_text()


def test_a_trained_party_of_another_world_is_compared_with_base(opened, tmp_path):  # noqa: F811
    made = schedule(scenarios("coordination", 3, 0), 6, 0)
    base, own = (play(made, policy) for policy in (Mixture(0.5), SKILLED))
    sets = [
        GameSet(place, p.table("games"), p.table("actions"), base)
        for place, p, base in (("matches/nobody", base, ""), ("matches/team", own, "matches/nobody"))
    ]
    (tmp_path / "page.html").write_text(watch_page("x", sets), encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    better = [
        f"matches/team/{o.game}"
        for b, o in zip(sets[0].games.itertuples(), sets[1].games.itertuples(), strict=True)
        if sum(o.success) > sum(b.success)
    ]
    choose(tab, "match", "1")
    assert listed(tab) == better
    assert better
