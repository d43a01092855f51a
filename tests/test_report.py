"""The report: honest about what it knows, closed to any network, and deaf to what models write into it."""

import json
import re
import shutil
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from maro_lib.__main__ import main
from maro_lib.embedded.lessons import HOME
from maro_lib.measure.comparison import NONE, NOT_JUDGED, SHOWN, compare_metrics
from maro_lib.measure.gold import ask_pairs
from maro_lib.measure.judgements import ABILITIES, judge_games
from maro_lib.measure.matches import BASE, CONTROL, MARO, NOBODY, saved
from maro_lib.measure.metrics import social
from maro_lib.measure.rule_judge import RuleJudge
from maro_lib.play.policies import NAIVE, RANDOM, SKILLED, Policy, Reply
from maro_lib.play.rollout import play, schedule
from maro_lib.play.shards import read_scripts, read_table
from maro_lib.run.compare import compare_runs
from maro_lib.runs import WATCH_PAGE, RunError, run_folder
from maro_lib.show.report import answer_sentences, beyond_control, chosen, write_report
from maro_lib.summary import Summary, in_brief, read_summary, write_summary
from maro_lib.wording import signed
from maro_lib.world.generator import generate_many
from maro_lib.world.mystery import Rules

ATTACK = "</script><img src=x onerror=\"document.title='hacked'\"><b>bold</b>"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Attacks:
    """A player that puts markup into everything that it says aloud."""

    policy: Policy
    name: str = f"attacker {ATTACK}"

    def act(self, requests):
        replies = self.policy.act(requests)
        loud = [r.prompt.phase in ("intro", "answer") for r in requests]
        return [Reply(f"{ATTACK} {x.text}") if is_loud else x for x, is_loud in zip(replies, loud, strict=True)]


def make_run(name, seed=0, judge=None):
    """A run as 05 and 06 leave it, played by scripted players: base is naive, MARO skilled, the control random."""
    scripts = generate_many(4, 51 + seed, HOME)
    games, at = schedule(scripts, 12, seed, Rules(rounds=2)), run_folder(name) / "matches"
    judge = judge or RuleJudge()
    base, maro, control = NAIVE, Attacks(SKILLED), RANDOM
    play(games, base, folder=at / NOBODY)
    for policy, place in ((maro, at), (control, at / "control")):
        play(games, {"civilian": policy, "culprit": base}, folder=place / "civilian")
        play(games, {"civilian": base, "culprit": policy}, folder=place / "culprit")
    measured = {}
    for key, place in saved(at).items():
        tables = read_table(place, "games"), read_table(place, "actions")
        measured[key] = social(*tables, judge_games(judge, *tables, read_scripts(place)))
    rows = {(a, w): compare_metrics(measured[BASE, NOBODY], t, w) for (a, w), t in measured.items() if a != BASE}
    everything = pd.concat(t.assign(arm=a, who=w) for (a, w), t in measured.items())
    everything.to_parquet(run_folder(name) / "social.parquet", index=False)
    table = pd.concat(t.reset_index().assign(arm=a, who=w, judge="rules") for (a, w), t in rows.items())
    table.to_parquet(run_folder(name) / "comparison.parquet", index=False)
    ask_pairs(judge, ["compact", "en"]).to_parquet(run_folder(name) / "judge.parquet", index=False)
    choice = {
        "game": "g",
        "agent": ATTACK,
        "culprits": ["Ann"],
        "moves": [{"move": ATTACK, "base": 0.2, "trained": 0.7}],
    }
    (run_folder(name) / "choices.json").write_text(json.dumps(choice))
    write_summary(Summary(run=name, parameters={"seed": seed}))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARO_OUTPUTS", str(tmp_path_factory.mktemp("outputs")))
        make_run("a")
        make_run("b", seed=1)
        yield run_folder("a").parent


@pytest.fixture(scope="module")
def page(outputs):
    (run_folder("a") / WATCH_PAGE).touch()
    return write_report("a").read_text(encoding="utf-8")


# --- what it says ------------------------------------------------------------------------------------


def row(arm, who, change, low, high, verdict):
    numbers = {"change": change, "low": low, "high": high, "games": 100, "mysteries": 25}
    return {"arm": arm, "who": who, "metric": "games won", "verdict": verdict, **numbers}


def test_the_answer_is_sentences_with_intervals_and_n():
    compared = pd.DataFrame([
        row(MARO, "civilian", 0.153, 0.083, 0.223, SHOWN), row(MARO, "culprit", 0.01, -0.03, 0.05, NONE),
        row(CONTROL, "civilian", -0.02, -0.08, 0.04, NONE), row(CONTROL, "culprit", 0.0, -0.04, 0.04, NONE),
    ])  # fmt: skip
    beyond = {"civilian": pd.Series(row(MARO, "civilian", 0.173, 0.103, 0.243, SHOWN))}
    gained, control, paired = answer_sentences(compared, beyond)
    assert gained == (
        "As civilians it won 15.3 points more of the games than its base [+8.3, +22.3]; as culprits no difference from "
        "its base was shown: +1.0 points [-3.0, +5.0] games won (the same 100 games of 25 mysteries, one run; 95 % "
        "intervals)."
    )
    assert control == (
        "The control, trained on shuffled labels: civilians -2.0 points [-8.0, +4.0], culprits 0.0 points [-4.0, +4.0]."
    )
    assert paired == "MARO beyond its control, paired by game: civilians +17.3 points [+10.3, +24.3]."
    worse = pd.DataFrame([row(MARO, "civilian", -0.2, -0.3, -0.1, SHOWN)])
    gained, control = answer_sentences(worse, {})
    assert gained.startswith("As civilians it won 20.0 points fewer of the games than its base [-30.0, -10.0]")
    assert control == "No control was trained."
    same = pd.DataFrame([row(arm, "culprit", 0.0, 0.0, 0.0, NONE) for arm in (MARO, CONTROL)])
    gained, control = answer_sentences(same, {})
    assert gained.startswith("As culprits all mysteries went as with the base: too few games")
    assert "culprits: all mysteries went as with the base" in control


def test_the_verdict_comes_first_and_in_words(page):
    cells = re.search(r'<table class="verdict">(.*?)</table>', page, re.DOTALL)[1]
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)", line) for line in cells.split("</tr>")[:3]]
    assert rows[0][1:] == ["as civilians", "as culprits"]
    assert [line[0] for line in rows[1:]] == ["Better than its base?", "Better than its control?"]
    assert {word for line in rows[1:] for word in line[1:]} <= {"yes", "no: worse", "not shown"}
    assert page.index("Better than its base?") < page.index("points") < page.index("Base against trained")


def test_beyond_its_control_is_measured_in_the_same_games(outputs):
    measured = pd.read_parquet(run_folder("a") / "social.parquet")
    for who, compared in beyond_control(measured).items():
        won = measured[(measured["metric"] == "games won") & (measured["faction"] == who) & (measured["who"] == who)]
        change = won.pivot(index="order", columns="arm", values="value").eval(f"`{MARO}` - `{CONTROL}`")
        assert compared["change"] == pytest.approx(change.mean())
        assert compared["games"] == len(change) == 12
    assert beyond_control(measured[measured["arm"] != CONTROL]) == {}


def test_one_run_is_set_beside_what_seeds_did_in_the_kept_study(page):
    told = read_summary("a")[0].report["Would another run find the same?"]
    ranges = [told[f"{arm}: civilians"] for arm in (MARO, CONTROL)]
    assert all(r["least"] < r["most"] and r["n"] >= 4 for r in ranges)
    mine, control = (f"{r['least']:+.0f} to {r['most']:+.0f} points" for r in ranges)
    assert f"{mine} as civilians with MARO, {control} on shuffled labels" in page


def test_a_run_says_what_it_was_made_of_and_what_so_few_mysteries_can_show(page):
    assert "run a · seed 0" in page
    assert "4 mysteries can show no difference" in page


def test_the_terminal_is_told_what_the_page_answers(page):
    question, *sentences = in_brief(read_summary("a")[0])
    assert question in page
    assert all(sentence in page for sentence in sentences[2:])
    assert len(sentences) == 5
    assert in_brief(Summary(run="empty")) == []


def test_a_run_that_was_not_measured_says_so(outputs):
    run_folder("empty").mkdir()
    write_summary(Summary(run="empty"))
    text = write_report("empty").read_text(encoding="utf-8")
    assert "Not known: its games were not measured" in text


def test_a_damaged_file_costs_its_part_and_not_the_page(outputs):
    shutil.copytree(run_folder("a"), run_folder("damaged"))
    (run_folder("damaged") / "choices.json").write_text("{")
    text = write_report("damaged").read_text(encoding="utf-8")
    assert "Left out: choice" in text
    assert re.search(r"RunError: outputs\d*/damaged/choices\.json: is damaged \(Invalid JSON", text), "of no machine"
    assert "notebook 05_maro_training makes it again: make run ONLY=05" in text
    assert "Base against trained" in text


def test_every_number_of_the_page_is_in_the_summary(outputs, page):
    told = read_summary("a")[0].report
    assert {"answer", "Base against trained", "What they do", "One choice, before and after", "What it cost"} <= set(
        told
    )
    table = pd.read_parquet(run_folder("a") / "comparison.parquet")
    kept = pd.DataFrame(told["Base against trained"])
    assert np.allclose(kept["change"], table["change"])
    assert all(signed(x, 3) in page for x in table["change"])


def test_three_games_are_a_win_a_loss_and_the_strangest(outputs):
    places = saved(run_folder("a") / "matches")
    titles = {title: game for title, _, game in chosen(places)}
    base, own = (
        read_table(places[k], "games").set_index("game")["winner"] for k in ((BASE, NOBODY), (MARO, "civilian"))
    )
    won = titles["A win that the base loses"]
    assert (own[won], base[won]) == ("civilian", "culprit")
    assert all(own[game] == "culprit" for title, game in titles.items() if title.startswith("A loss"))


def test_its_games_lead_to_the_page_on_which_they_are_watched(outputs, page):
    links = re.findall(r'<a href="([^"]*)">Watch it', page)
    games = [game for _, _, game in chosen(saved(run_folder("a") / "matches"))]
    assert links == [f"watch.html#game=matches/civilian/{game}&amp;step=0" for game in games]


def test_a_judge_is_shown_with_its_accuracy(page):
    assert "Can the judge be believed?" in page
    assert "Pairs with a known answer: 100.0 % [92.6, 100.0] (n = 48) right." in page
    assert page.count("<td>compact</td>") == page.count("<td>en</td>") == 6
    told = pd.DataFrame(read_summary("a")[0].report["Can the judge be believed?"])
    assert told.groupby("book")["n"].sum().to_dict() == {"compact": 48, "en": 0}


def test_what_is_not_judged_is_said_and_not_counted(outputs):
    make_run("silent", judge=RuleJudge(failed={("compact", kind): "it fails" for kind in ABILITIES}))
    text = write_report("silent").read_text(encoding="utf-8")
    assert "Watch it" not in text, "there is no page for that"
    rows = [re.findall(r"<td[^>]*>([^<]*)", line) for line in text.split("</tr>") if "ICI (rules)" in line]
    assert rows == [["ICI (rules)", *[""] * 5, NOT_JUDGED, "0 / 0"]] * 4
    beside = pd.DataFrame(read_summary("silent")[0].report["Beside what others published"])
    assert beside.loc["ICI"].isna().all()
    assert beside.loc["SCI"].notna().all()
    assert re.search(rf"here: base</td>(<td[^>]*>[^<]*</td>){{3}}<td[^>]*>{NOT_JUDGED}</td>", text)
    assert NOT_JUDGED in compare_runs([str(run_folder("silent"))])


def test_published_figures_are_marked_as_published(page):
    assert "published: GPT-4o" in page
    assert "Nothing of it is reproduced here" in page


# --- what it lets in ---------------------------------------------------------------------------------


def test_what_models_wrote_is_text(page):
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert page.count("<script") == 0


@pytest.fixture
def tab(outputs, page):
    """The report in a real browser, and what the browser asked for and complained of."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play_:
        browser = play_.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.asked, tab.said = [], []
        tab.on("request", lambda r: tab.asked.append(r.url))
        tab.on("console", lambda m: tab.said.append(m.text))
        tab.on("pageerror", lambda e: tab.said.append(str(e)))
        tab.goto((run_folder("a") / "report.html").as_uri())
        yield tab
        browser.close()


def test_it_opens_in_a_browser_without_error_network_or_attack(tab):
    assert tab.title() == "MARO: a"
    transcript = tab.locator("details", has_text="A win that the base loses").first
    assert not transcript.evaluate("d => d.open")
    transcript.locator("summary").first.click()
    assert transcript.evaluate("d => d.open")
    assert transcript.locator("text=<img src=x").first.is_visible(), "shown as the text that it is"
    assert all(tab.locator("img").evaluate_all("list => list.map(i => i.naturalWidth > 0)")), "pictures are inside"
    assert tab.title() == "MARO: a", "the attack did nothing"
    assert not tab.said
    assert [url for url in tab.asked if not url.startswith(("file:", "data:"))] == []


def test_it_fits_a_narrow_screen_and_follows_the_dark(tab):
    tab.set_viewport_size({"width": 390, "height": 800})
    for details in tab.locator("section > details, section > div > details").all():
        details.evaluate("d => d.open = true")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    colours = "getComputedStyle(document.body).backgroundColor"
    light = tab.evaluate(colours)
    tab.emulate_media(color_scheme="dark")
    assert (light, tab.evaluate(colours)) == ("rgb(255, 255, 255)", "rgb(13, 17, 23)")


def test_every_part_is_linked_and_printed_with_its_games(tab):
    titles, links = tab.locator("h2").all_inner_texts(), tab.locator("nav a")
    assert links.all_inner_texts() == titles
    assert all(tab.locator(link.get_attribute("href")).count() == 1 for link in links.all())
    folded = tab.locator("details", has_text="A win that the base loses").first
    height = folded.evaluate("d => d.getBoundingClientRect().height")
    tab.emulate_media(media="print")
    assert folded.evaluate("d => d.getBoundingClientRect().height") > 5 * height


# --- several runs ------------------------------------------------------------------------------------


def test_runs_stand_side_by_side_with_a_mean_whose_interval_is_over_runs(outputs):
    text = compare_runs(["a", str(run_folder("b"))])
    line = next(x for x in text.splitlines() if "games won" in x and "civilian" in x)
    assert text.splitlines()[0].endswith("mean of the runs")
    assert line.count("n=12") == 2
    one, other, mean, low, high = (float(re.findall(r"[-+]\d\.\d+", line)[k]) for k in (0, 3, 6, 7, 8))
    assert mean == pytest.approx((one + other) / 2, abs=1e-3)
    assert high - low == pytest.approx(12.706 * abs(one - other), rel=0.02, abs=0.02), "Student's of two"


def test_runs_of_one_seed_have_no_mean(outputs):
    shutil.copytree(run_folder("a"), run_folder("again"))
    assert "mean" not in compare_runs(["a", "again"])


def test_a_run_that_is_not_there_is_a_clear_error(outputs, capsys):
    with pytest.raises(RunError, match="there is no run of that name"):
        compare_runs(["a", "nobody"])
    assert main(["report", "nobody"]) == 1
    assert "there is no run of that name" in capsys.readouterr().err


def test_a_report_can_be_written_again(outputs, capsys):
    assert main(["report", str(run_folder("a"))]) == 0
    assert "report.html" in capsys.readouterr().out
    assert main(["compare", "a", "b"]) == 0
