"""The page on which games are watched: every game and move has an address, and no text of a model does anything."""

import random
import re
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import synthetic
from test_report import ATTACK, CHROMIUM, Attacks

from maro_lib.__main__ import main
from maro_lib.embedded.lessons import HOME
from maro_lib.learn.decomposition import cheap_rules, decompose
from maro_lib.play.policies import NAIVE, SKILLED, Mixture
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_table
from maro_lib.runs import run_folder
from maro_lib.show.game_sets import KEPT_CREDIT, GameSet, paired_base, read_set, set_places
from maro_lib.show.watch import fitting, said_of, watch_page, watch_run
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

PLACES = ["rollout", "matches/civilian", "matches/culprit", "matches/nobody"]
N = 8  # games of a line-up
IN_SIGHT = """() => {
    const li = document.querySelector(".move[aria-current]"), own = li.getBoundingClientRect();
    const list = li.parentNode.getBoundingClientRect();
    return own.top >= list.top && own.bottom <= list.bottom + 1;
}"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A run as 02, 03 and 05 leave it, played by scripted players."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARO_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        scripts, at = generate_many(3, 51, HOME), run_folder("a")
        play(schedule(scripts, N, 0, Rules(rounds=1)), Mixture(), folder=at / "rollout")
        games = schedule(scripts, N, 500, Rules(rounds=1))
        for place, civilians, culprits in (
            ("nobody", NAIVE, NAIVE), ("civilian", Attacks(SKILLED), NAIVE), ("culprit", NAIVE, Attacks(SKILLED)),
        ):  # fmt: skip
            play(games, {"civilian": civilians, "culprit": culprits}, folder=at / "matches" / place)
        actions = read_table(at / "rollout", "actions")
        actions.assign(weight=decompose(actions, "terminal")).to_parquet(at / "credit.parquet", index=False)
        yield at


@pytest.fixture(scope="module")
def sets(outputs):
    return {place: read_set("a", place, PLACES) for place in PLACES}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play_:
        browser = play_.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """Open a page in a new tab, which notes what it asks for and complains of."""
    tabs = []

    def open_page(address, *, shows=".move"):
        tab = browser.new_page()
        tabs.append(tab)
        tab.asked, tab.said = [], []
        tab.on("request", lambda r: tab.asked.append(r.url))
        tab.on("console", lambda m: tab.said.append(m.text))
        tab.on("pageerror", lambda e: tab.said.append(str(e)))
        tab.on("dialog", lambda d: tab.said.append(d.message))
        tab.goto(address)
        tab.wait_for_selector(shows)
        return tab

    yield open_page
    for tab in tabs:
        assert not tab.said
        assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []
        tab.close()


@pytest.fixture(scope="module")
def view(outputs):
    """What a cell shows: it makes the page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(outputs)
        return watch_run("a", "rollout", "g000001", 5)


@pytest.fixture(scope="module")
def address(outputs, view):
    return (outputs / "watch.html").as_uri()


def listed(tab) -> list[str]:
    return tab.locator(".games li[data-id]").evaluate_all("list => list.map(li => li.dataset.id)")


def choose(tab, label, value) -> None:
    tab.select_option(f"select[aria-label='{label}']", value)


# --- what goes in ------------------------------------------------------------------------------------


def test_sets_are_found_wherever_stages_put_them_and_paired_with_base(outputs, sets):
    assert set_places("a") == ["rollout", "matches/civilian", "matches/culprit", "matches/nobody"]
    assert [sets[place].base for place in PLACES] == ["", "matches/nobody", "matches/nobody", ""]
    assert [sets[place].trained for place in PLACES] == ["", "civilian", "culprit", ""]
    assert sets["matches/civilian"].title == "civilians trained"
    found = ["matches/nobody", "matches/elsewhere/long/nobody", "round_2/matches/nobody"]
    assert paired_base("matches/control/civilian", found) == "matches/nobody"
    assert paired_base("matches/elsewhere/long/control/civilian", found) == "matches/elsewhere/long/nobody"
    assert paired_base("round_2/rollout", found) == ""
    assert GameSet("round_2/matches/control/civilian", None, None).title == "civilians trained, control, round 2"


def test_an_old_or_other_set_is_none_of_the_run(outputs):
    other = run_folder("b")
    (other / "before").mkdir(parents=True)
    for name in ("rollout", "rollout.other-1", "before/rollout"):
        (other / name).symlink_to(outputs / "rollout")  # a stage that is taken over is a link
    assert set_places("b") == ["rollout"]


def test_credit_is_what_03_kept_and_what_every_rule_gives(sets):
    actions, credit = sets["rollout"].actions, sets["rollout"].credit
    assert np.allclose(credit[KEPT_CREDIT], decompose(actions, "terminal"))
    assert np.allclose(credit["uniform"], 2 * actions["success"] - 1)
    assert {"latent", "belief_shift"} <= {*credit}
    assert KEPT_CREDIT not in sets["matches/nobody"].credit


def test_a_page_holds_as_many_games_of_each_set_where_not_all_fit():
    assert fitting([5, 3, 8], most=20) == 8
    assert fitting([1000, 3, 3], most=20) == 14, "what small sets leave is the large one's"
    assert fitting([100, 100], most=20) == 10


def test_no_text_ends_the_block_that_holds_it(outputs, sets):
    one = sets["matches/civilian"]
    hostile = one._replace(place=f"x/{ATTACK}", games=one.games.assign(script=ATTACK, ending=ATTACK, cell=ATTACK))
    page = watch_page(ATTACK, [hostile], {ATTACK: ATTACK})
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 3, "the games, their list, the script"
    assert re.search(r"default-src 'none'; script-src 'sha256-[\w+/=]{44}'; style-src 'sha256-[\w+/=]{44}'", page)


def test_a_damaged_set_is_named_and_costs_itself_alone(outputs, opened, capsys):
    other = run_folder("damaged")
    (other / "matches").mkdir(parents=True)
    (other / "rollout").symlink_to(outputs / "rollout")
    (other / "matches" / "nobody" / "shard-00000").mkdir(parents=True)
    assert main(["watch", str(other)]) == 0
    assert re.search(r"damaged/watch\.html \([\d.]+ [kM]B\)", capsys.readouterr().out)
    tab = opened((other / "watch.html").as_uri())
    assert len(listed(tab)) == N
    assert "matches/nobody: " in tab.locator(".left").inner_text()


def test_a_run_without_games_says_which_notebook_plays_them(outputs, capsys):
    assert main(["watch", "nothing"]) == 1
    assert "holds no games yet; notebook 02 plays them" in capsys.readouterr().err


def test_a_cell_shows_the_page_at_a_move(outputs, view):
    assert repr(view) == said_of(outputs / "watch.html")
    assert 'src="watch.html" name="game=rollout/g000001&amp;step=5"' in view.html


# --- what it does ------------------------------------------------------------------------------------


def test_hostile_texts_do_nothing(opened, outputs, sets, tmp_path):
    one = sets["matches/civilian"]
    name = one.games["players"][0][0]
    games = one.games.assign(script=ATTACK, ending=ATTACK, cell=ATTACK, winner=ATTACK, accused=ATTACK)
    games["players"] = [[ATTACK if who == name else who for who in names] for names in games["players"]]
    texts = dict.fromkeys(("text", "target", "place"), f"\u202e{ATTACK}") | {"phase": "toString"}
    texts["kind"] = [
        ("constructor", ATTACK)[k % 2] for k in range(len(one.actions))
    ]  # every object of a script has one
    page = watch_page(ATTACK, [one._replace(place=f"x/{ATTACK}", games=games, actions=one.actions.assign(**texts))])
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    for rule in ("uniform", "latent"):
        choose(tab, "colour by credit", rule)
    tab.keyboard.press("ArrowRight")
    assert tab.locator("img, b:not([class]) b").count() == 0
    assert tab.locator(".moves >> text=<img src=x").first.is_visible(), "shown as the text that it is"
    assert "\u202e" not in tab.content(), "nothing turns the direction of what stands around it"
    assert tab.title() == f"Games of {ATTACK}"
    assert tab.evaluate("new URLSearchParams(location.hash.slice(1)).get('game')").startswith(f"x/{ATTACK}/")


def test_a_move_has_an_address_for_ever(opened, address, sets):
    actions = sets["matches/culprit"].actions
    move = actions[actions["game"] == "g000003"].iloc[9]
    tab = opened(f"{address}#game=matches/culprit/g000003&step=9")
    current = tab.locator(".move[aria-current]")
    assert current.inner_text().startswith("9")
    assert move["text"] in current.inner_text()
    tab.locator(".move a.step", has_text=re.compile("^12$")).click()
    tab.wait_for_function("document.querySelector('.move[aria-current] .step').textContent === '12'")
    assert tab.url.endswith("#game=matches/culprit/g000003&step=12")


def test_an_address_without_a_game_says_so(opened, address):
    tab = opened(f"{address}#game=matches/{quote(ATTACK)}&step=9", shows="section p")
    assert tab.locator("section p").inner_text() == f"There is no game matches/{ATTACK} on this page."


def test_arrows_move_through_a_game_with_the_slider_or_without(opened, address):
    tab = opened(f"{address}#game=rollout/g000002&step=3")
    step = "document.querySelector('.move[aria-current] .step').textContent"
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate(step) == "4"
    tab.locator("input[type=range]").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate(step) == "5"
    tab.keyboard.press("End")
    assert tab.evaluate(step) == tab.locator("input[type=range]").get_attribute("max")
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".move.later").count() == 0
    for width in (1200, 390):
        tab.set_viewport_size({"width": width, "height": 800})
        tab.locator("input[type=range]").fill("12")
        assert tab.evaluate(IN_SIGHT), f"on a screen of {width} the step is scrolled to"
    tab.locator("select[aria-label=order]").focus()
    tab.keyboard.press("ArrowLeft")
    assert tab.evaluate(step) == "12", "a list's arrows are its own"


def test_filters_leave_what_the_tables_say(opened, address, sets):
    tab = opened(address)
    assert len(listed(tab)) == N * len(PLACES)
    choose(tab, "played", "1")
    assert listed(tab) == [f"matches/civilian/{game}" for game in sets["matches/civilian"].games["game"]]
    base, own = (sets[place].games.set_index("game")["winner"] for place in ("matches/nobody", "matches/civilian"))
    for value, wanted in (("1", (own == "civilian") & (base != "civilian")),
                          ("-1", (own != "civilian") & (base == "civilian"))):  # fmt: skip
        choose(tab, "match", value)
        assert listed(tab) == [f"matches/civilian/{game}" for game in own.index[wanted]]
    choose(tab, "match", "")
    choose(tab, "won by", "culprit")
    assert listed(tab) == [f"matches/civilian/{game}" for game in own.index[own == "culprit"]]
    choose(tab, "won by", "")
    script = sets["matches/civilian"].games["script"].iloc[0]
    choose(tab, "script", script)
    assert len(listed(tab)) == (sets["matches/civilian"].games["script"] == script).sum()
    choose(tab, "script", "")
    tab.check("input[type=checkbox]")
    assert len(listed(tab)) == (sets["matches/civilian"].games["n_illegal"] > 0).sum()
    tab.uncheck("input[type=checkbox]")
    tab.fill("input[type=search]", "g000004")
    assert listed(tab) == ["matches/civilian/g000004"]


def test_the_strangest_game_comes_first(opened, sets, tmp_path):
    expected = pd.Series({f"g{k:06d}": -1.0 - (k == 5) for k in range(N)})
    expected["g000000"] = -np.inf  # no number to compare with
    page = watch_page("x", [sets["rollout"]._replace(expected=expected)])
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    choose(tab, "order", "strangest first")
    assert (listed(tab)[0], listed(tab)[-1]) == ("rollout/g000005", "rollout/g000000")


def test_base_and_trained_stand_side_by_side_and_go_together(opened, address, sets):
    tab = opened(f"{address}#game=matches/civilian/g000001&step=0")
    choose(tab, "beside it", "matches/nobody")
    tab.wait_for_selector("article:nth-of-type(2)")
    for _ in range(6):
        tab.keyboard.press("ArrowRight")
    assert tab.locator(".move[aria-current] .step").all_inner_texts() == ["6", "6"]
    assert tab.url.endswith("&beside=matches/nobody")
    again = opened(tab.url, shows="article:nth-of-type(2)")
    assert again.locator("article .chip", has_text="base in all seats").count() == 1
    one, other = (sets[p].actions.query("game == 'g000001'") for p in ("matches/civilian", "matches/nobody"))
    pairs = zip(one[["seat", "kind", "text"]].values, other[["seat", "kind", "text"]].values, strict=False)
    part = next(k for k, (x, y) in enumerate(pairs) if list(x) != list(y))
    assert again.locator(".parted").inner_text() == f"They part at step {part}"


def test_credit_by_any_rule_colours_the_moves(opened, address, sets):
    tab = opened(f"{address}#game=rollout/g000000&step=0")
    assert tab.locator(".credit").count() == 0
    rules = tab.locator("select[aria-label='colour by credit'] option").all_inner_texts()
    assert rules == ["none", KEPT_CREDIT, *cheap_rules()], "also one that gives nothing in this game"
    choose(tab, "colour by credit", KEPT_CREDIT)
    actions = sets["rollout"].actions.query("game == 'g000000'")
    said = {0: "0", 1: "+1.00", -1: "−1.00"}
    assert tab.locator(".credit").all_inner_texts() == [said[x] for x in decompose(actions, "terminal")]
    choose(tab, "colour by credit", "uniform")
    colour = tab.locator(".credit").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert colour == ("rgba(0, 114, 178, 0.55)" if actions["success"].iloc[0] else "rgba(213, 94, 0, 0.55)")


def small_set(**columns) -> GameSet:
    """Three players: Ann asks Bob twice, then all rate one another, then Cid asks Ann."""
    rows = [
        {"kind": "ask", "seat": 0, "target": "Bob"}, {"kind": "ask", "seat": 0, "target": "Bob"},
        {"kind": "rate", "phase": "rate", "seat": 0, "suspicion": [-1, 1, 2], "trust": [-1, 0, 0]},
        {"kind": "rate", "phase": "rate", "seat": 1, "suspicion": [0, -1, 1], "trust": [2, -1, 0]},
        {"kind": "rate", "phase": "rate", "seat": 2, "suspicion": [0, 1, -1], "trust": [1, 0, -1]},
        {"kind": "ask", "seat": 2, "target": "Ann"},
    ]  # fmt: skip
    names = ["Ann", "Bob", "Cid"]
    actions = synthetic.table([{"game": "g", "agent": names[row["seat"]], "round": 1, **row} for row in rows])
    game = {"game": "g", "order": 0, "script": "s", "seed": 2**62 + 1, "players": np.array(names), "winner": "culprit",
            "n_actions": 6, "n_illegal": 0, "culprits": np.array(["Cid"])} | columns  # fmt: skip
    return GameSet("rollout", pd.DataFrame([game]), actions)


def test_pictures_say_who_is_suspected_and_who_was_asked(opened, tmp_path):
    (tmp_path / "page.html").write_text(watch_page("x", [small_set()]), encoding="utf-8")
    tab = opened(f"{(tmp_path / 'page.html').as_uri()}#game=rollout/g&step=1")
    said = tab.locator("figcaption")
    assert said.all_inner_texts() == [
        "Suspicion: nobody has been asked yet", "Asked most: Bob (2)", "Who suspects whom: not asked yet",
        "Trust: nobody has been asked yet",
    ]  # fmt: skip
    assert tab.locator("path.edge").count() == 1
    tab.keyboard.press("End")
    tab.locator("input[type=range]").fill("5")
    assert said.all_inner_texts() == [
        "Most suspected: Cid (1.5 of 2, as the others say)", "Asked most: Bob (2)",
        "Who suspects whom, 0 to 2: a row says it of a column", "Most trusted: Ann (1.5 of 2, as the others say)",
    ]  # fmt: skip
    assert tab.locator("path.edge").count() == 2
    assert tab.locator(".matrix td").all_inner_texts() == ["", "1", "2", "0", "", "1", "0", "1", ""]
    assert tab.locator(".chip", has_text="seed").inner_text() == f"seed {2**62 + 1}", "no digit is lost"


def test_what_a_mystery_alone_has_may_be_missing(opened, tmp_path):
    one = small_set(winner="")
    alone = ["suspicion", "trust", "belief", "clue", "place", "faction", "role"]
    bare = one._replace(games=one.games.drop(columns=["culprits"]), actions=one.actions.drop(columns=alone))
    (tmp_path / "page.html").write_text(watch_page("x", [bare]), encoding="utf-8")
    tab = opened((tmp_path / "page.html").as_uri())
    assert tab.locator("header b").inner_text() == "No winner."
    assert tab.locator("figcaption").count() == 1, "who asked whom is known in any world"
    alone = bare._replace(actions=bare.actions[bare.actions["seat"] == 0])
    (tmp_path / "alone.html").write_text(watch_page("x", [alone]), encoding="utf-8")
    assert opened((tmp_path / "alone.html").as_uri()).locator(".move").count() == 3, "one player, in the first seat"


def test_it_fits_a_narrow_screen_and_follows_the_dark(opened, address):
    tab = opened(f"{address}#game=matches/civilian/g000001&step=4&beside=matches/nobody")
    tab.set_viewport_size({"width": 390, "height": 800})
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    colours = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(colours)
    tab.emulate_media(color_scheme="dark")
    assert (light, tab.evaluate(colours)) == ("rgb(255, 255, 255)", "rgb(13, 17, 23)")


@pytest.mark.walk
def test_ten_thousand_games_open_in_two_seconds(opened, sets, tmp_path):
    draws = random.Random(0)
    n, many = 10_000 // (N * len(PLACES)) + 1, []
    for one in sets.values():
        copies = [
            {name: table.assign(game=[f"{game}-{k}" for game in table["game"]], order=table["order"] + k * N)
             for name, table in (("games", one.games), ("actions", one.actions))}
            for k in range(n)
        ]  # fmt: skip
        tables = {name: pd.concat([c[name] for c in copies], ignore_index=True) for name in ("games", "actions")}
        tables["actions"]["text"] = [draws.randbytes(50).hex() for _ in tables["actions"].index]  # packs badly
        many.append(one._replace(**tables, credit={"uniform": decompose(tables["actions"], "uniform")}, expected=None))
    path = tmp_path / "page.html"
    path.write_text(watch_page("ten thousand", many), encoding="utf-8")
    tab = opened(path.as_uri())
    total = sum(len(one.games) for one in many)
    assert tab.locator("[role=status]").inner_text() == f"{total:,} of {total:,} games"
    seconds = tab.evaluate("performance.getEntriesByName('listed')[0].startTime") / 1000
    print(f"{total:,} games, {path.stat().st_size / 2**20:.1f} MB: listed after {seconds:.2f} s")
    assert total >= 10_000
    assert seconds < 2
    tab.fill("input[type=search]", f"g000003-{n - 1}")
    tab.locator(".games a").first.click()
    tab.wait_for_function(f"document.querySelector('article').innerText.includes('g000003-{n - 1}')")


def test_a_run_of_one_game_is_watched_too(tmp_path, monkeypatch, small_world):
    """Rules that learn from some mysteries for others have nothing to learn from here."""
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path))
    play(schedule([small_world], 1, 0, Rules(rounds=1)), SKILLED, folder=run_folder("one") / "rollout")
    assert main(["watch", "one"]) == 0
    assert (tmp_path / "one" / "watch.html").exists()
