"""A run's report: one page that says whether it worked, how sure that is, what it cost, and shows the games.

    outputs/<run>/report.html    self-contained: no script, no request to any network; a policy in its head forbids both
    outputs/<run>/summary.json   every number of it, under `report`

Each part is made from what a stage has left; a part whose stage was not run says so. All text of models passes through
`maro_lib.markup`, which escapes it. Written at the end of a series, and by `python -m maro_lib report outputs/<run>`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from maro_lib.learn.balancing import Facts
from maro_lib.learn.decomposition import decompose
from maro_lib.markup import Html, fold, join, tag
from maro_lib.measure import behaviour, published
from maro_lib.measure.comparison import LEVEL, NONE, NOT_JUDGED, SHOWN, compare_metrics, differing
from maro_lib.measure.gold import BY_CHANCE, accuracy
from maro_lib.measure.metrics import overall, with_judge
from maro_lib.play.rollout import Played
from maro_lib.play.shards import read_scripts, read_table
from maro_lib.runs import REPORT_PAGE, run_folder, write_atomic
from maro_lib.show import figures
from maro_lib.show.game_sets import expected_words
from maro_lib.show.page import Part, number, page_of, picture, table_of
from maro_lib.show.report_worlds import asked_of, found_part, world_games_part, worlds_part
from maro_lib.show.reported import LABELS, Run, watch_link
from maro_lib.show.transcript import show_game
from maro_lib.statistics import Mean, Rate
from maro_lib.study.rounds import wins_by_round
from maro_lib.summary import read_summary, write_summary
from maro_lib.wording import duration, p_value, signed
from maro_lib.world.scripts import FACTIONS

# what loads torch (matches, choices, evidence, transfer, training) is imported by the parts that have something to show
ORDER = FACTIONS[::-1]  # civilians first, as in notebook 06


def write_report(run: str, n_rounds: int = 1) -> Path:
    """Make outputs/<run>/report.html, and put its numbers into summary.json."""
    summary, _ = read_summary(run)
    made = Run(run, n_rounds, summary)
    parts = [part for make, needed in PARTS.items() if made.has(*needed) for part in _made(make, made)]
    numbers = {part.title or "answer": part.numbers for part in parts if part.numbers is not None}
    path = run_folder(run) / REPORT_PAGE
    write_atomic(path, page_of(f"MARO: {run}", parts))
    write_summary(summary.model_copy(update={"report": json.loads(json.dumps(numbers, default=float))}))
    return path


def _made(make: Callable[[Run], Iterator[Part]], run: Run) -> list[Part]:
    """Make a part; what is damaged on disk may cost its part, never the page of a long run."""
    try:
        return list(make(run))
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        return [Part(f"Left out: {make.__name__.replace('_', ' ')}", tag("p", told), {"error": told})]


def stopped(run: Run) -> Iterator[Part]:
    """Where and why a run stopped: before all else, so that nobody takes what follows for its result."""
    if not (stop := run.summary.stopped):
        return
    where = f"Stopped in {stop.stage}" if stop.stage else "Stopped"
    notebook = f" ({stop.notebook})" if stop.notebook else ""
    told = f"{where}{notebook}: {stop.error} What follows is of the stages before it, or of an earlier run."
    yield Part("", tag("p", told, class_="stopped"))


# --- question and answer -----------------------------------------------------------------------------


def answer(run: Run) -> Iterator[Part]:
    if questions := asked_of(run):
        head = join(tag("p", _recipe(run), class_="muted"), *(tag("h1", question) for question in questions))
        yield Part("", head, {"question": " ".join(questions), "answer": []})
        return
    head = join(tag("p", _recipe(run), class_="muted"), tag("h1", LABELS.question))
    if not run.has("comparison.parquet", "social.parquet"):
        yield Part("", join(head, tag("p", "Not known: its games were not measured (notebook 06 was not run).")))
        return
    compared, beyond = run.table("comparison.parquet"), beyond_control(run.table("social.parquet"))
    verdicts, sentences = _verdicts(compared, beyond), answer_sentences(compared, beyond)
    sides = [f"as {who}s" for who in ORDER]
    rows = [[asked, *said] for asked, said in verdicts.items()]
    html = join(head, table_of(["", *sides], rows, class_="verdict"), tag("p", " ".join(sentences)))
    told = [f"{asked} {', '.join(map(': '.join, zip(sides, said, strict=True)))}." for asked, *said in rows]
    yield Part("", html, {"question": LABELS.question, "answer": [*told, *sentences]})


def beyond_control(measured: pd.DataFrame) -> dict[str, pd.Series]:
    """Compare MARO with its control, in the games won by each faction, paired by game."""
    from maro_lib.measure.matches import CONTROL, MARO

    won = dict(tuple(measured[measured["metric"] == "games won"].groupby(["arm", "who"])))
    both = [who for who in ORDER if (MARO, who) in won and (CONTROL, who) in won]
    return {who: compare_metrics(won[CONTROL, who], won[MARO, who], who).loc["games won"] for who in both}


def _verdicts(compared: pd.DataFrame, beyond: Mapping[str, pd.Series]) -> dict[str, list[str]]:
    """Say in words, for each faction, whether MARO is better than its base and than its control."""
    from maro_lib.measure.matches import MARO

    won = compared[(compared["metric"] == "games won") & (compared["arm"] == MARO)].set_index("who")
    base = [_verdict(won.loc[who]) if who in won.index else "not measured" for who in ORDER]
    control = [_verdict(beyond[who]) if who in beyond else "not measured" for who in ORDER]
    return {"Better than its base?": base, "Better than its control?": control}


def _verdict(row: pd.Series) -> str:
    return "not shown" if row["verdict"] == NONE else "yes" if row["change"] > 0 else "no: worse"


def _recipe(run: Run) -> str:
    """What was done, in a line: a run that leaves a part of MARO out says so."""
    given = run.summary.parameters
    known = {"model": "model {}", "n_games": "{} games", "rule": "credit {}", "mode": "balancing {}", "seed": "seed {}"}
    known = {"seed": "seed {}"} if asked_of(run) else known  # the rest is of notebooks that were not run
    told = [words.format(given[name]) for name, words in known.items() if name in given]
    return " · ".join([f"run {run.name}", *told])


def answer_sentences(compared: pd.DataFrame, beyond: Mapping[str, pd.Series]) -> list[str]:
    """Give the numbers: what was gained in the game, what the control gained, and how far MARO is beyond it."""
    from maro_lib.measure.matches import CONTROL, MARO

    won = compared[compared["metric"] == "games won"].set_index(["arm", "who"])
    own = [_told(won.loc[MARO, who], f"as {who}s") for who in ORDER if (MARO, who) in won.index]
    games, mysteries = (int(won[name].iloc[0]) for name in ("games", "mysteries"))
    gained = f"{'; '.join(own)} (the same {games} games of {mysteries} mysteries, one run; 95 % intervals)."
    blind = [_change(won.loc[CONTROL, who], f"{who}s") for who in ORDER if (CONTROL, who) in won.index]
    control = f"The control, trained on shuffled labels: {', '.join(blind)}." if blind else "No control was trained."
    further = [_change(row, f"{who}s") for who, row in beyond.items()]
    paired = [f"MARO beyond its control, paired by game: {', '.join(further)}."] if further else []
    return [gained[0].upper() + gained[1:], control, *paired]


def _told(row: pd.Series, where: str) -> str:
    if _unmoved(row):
        return f"{where} {LABELS.never}"
    if row["verdict"] == NONE:
        return f"{where} no difference from its base was shown: {_points(row)} games won"
    return f"{where} it won {abs(100 * row['change']):.1f} points {'more' if row['change'] > 0 else 'fewer'} " \
           f"of the games than its base {_interval(row)}"  # fmt: skip


def _change(row: pd.Series, who: str) -> str:
    return f"{who}: {LABELS.never}" if _unmoved(row) else f"{who} {_points(row)}"


def _unmoved(row: pd.Series) -> bool:
    """No mystery ended otherwise: an interval of width zero would look like certainty."""
    return row["low"] == row["high"] == row["change"] == 0


def _points(row: pd.Series) -> str:
    return f"{signed(100 * row['change'], 1)} points {_interval(row)}"


def _interval(row: pd.Series) -> str:
    return f"[{signed(100 * row['low'], 1)}, {signed(100 * row['high'], 1)}]"


def luck(_: Run) -> Iterator[Part]:
    """What the intervals of one run can't know: how far runs of other seeds lie apart, in the study that is kept."""
    from maro_lib.measure.matches import CONTROL, MARO
    from maro_lib.study.evidence import read_findings, select_arms, spread

    found = spread(select_arms(read_findings().results, [MARO, CONTROL]))
    n = min(of_seed["n"] for of_seed in (found[arm, who] for arm in (MARO, CONTROL) for who in FACTIONS))
    ranges = [
        f"{_range(found[MARO, who])} as {who}s with MARO, {_range(found[CONTROL, who])} on shuffled labels"
        for who in ORDER
    ]
    told = LABELS.luck.format(n=n, ranges="; ".join(ranges))
    numbers = {f"{arm}: {who}s": of_seed for (arm, who), of_seed in found.items()}
    yield Part("Would another run find the same?", tag("p", told), numbers)


def _range(of_seed: Mapping[str, float]) -> str:
    return f"{signed(of_seed['least'], 0)} to {signed(of_seed['most'], 0)} points"


# --- differences -------------------------------------------------------------------------------------


def differences(run: Run) -> Iterator[Part]:
    from maro_lib.measure.matches import MARO

    compared = run.table("comparison.parquet")
    judge = compared["judge"].iloc[0]
    note = LABELS.judged.format(judge=judge)
    known = compared[compared["verdict"] != NOT_JUDGED]
    n_metrics, n_mysteries = known["metric"].nunique(), int(known["mysteries"].max())
    if (least := 2 * n_metrics / 2**n_mysteries) > LEVEL:
        note += " " + LABELS.too_few.format(mysteries=n_mysteries, least=min(1, least), metrics=n_metrics)
    tables = [
        tag("p", note, class_="muted"),
        picture(figures.plot_changes(compared, f"Metrics that differ from base: {differing(compared)}"), "changes"),
    ]
    for (arm, who), rows in compared.groupby(["arm", "who"], sort=False):
        body = [
            [with_judge(r.metric, judge), *_numbers(r), r.verdict, f"{r.games} / {r.mysteries}"]
            for r in rows.rename(columns={"p (Holm)": "p_holm"}).itertuples()
        ]  # fmt: skip
        heads = ["metric", "base", "trained", "change", "95 % interval", "p (Holm)", "verdict", "games / mysteries"]
        table = table_of(heads, body, marked=rows["verdict"] == SHOWN)
        tables.append(fold(f"{arm}: trained {who}s", table, is_open=arm == MARO))
    yield Part("Base against trained", join(*tables), compared.to_dict("records"))


def _numbers(row: Any) -> list[str]:
    """A metric's numbers; of what could not be judged, none."""
    if row.verdict == NOT_JUDGED:
        return [""] * 5
    interval = f"[{signed(row.low, 3)}, {signed(row.high, 3)}]"
    return [number(row.base), number(row.trained), signed(row.change, 3), interval, p_value(row.p_holm)]


def judge_part(run: Run) -> Iterator[Part]:
    """How often the judge was right where the answer is known."""
    answered = run.table("judge.parquet")
    body = [
        [r.book, r.kind, str(Rate(r.right, r.low, r.high, r.n)) if r.n else "", r.verdict]
        for r in answered.itertuples()
    ]
    table = table_of(["words", "judged", "right", "verdict"], body, marked=answered["verdict"] == BY_CHANCE)
    told = f"Pairs with a known answer: {accuracy(answered)} right. {LABELS.gold}"
    html = join(tag("p", told, class_="muted"), fold("By words and kind of judgement", table))
    yield Part("Can the judge be believed?", html, answered.to_dict("records"))


def behaviour_part(run: Run) -> Iterator[Part]:
    """How they play, not only how often they win."""
    from maro_lib.measure.matches import BASE, NOBODY, saved

    if (BASE, NOBODY) not in (places := saved(run.at("matches"))):
        return
    scripts = read_scripts(places[BASE, NOBODY])
    played = {key: (read_table(place, "games"), read_table(place, "actions")) for key, place in places.items()}
    labels = {(arm, who): "base" if arm == BASE else f"{arm}: {who}s" for arm, who in played}
    turns = {}
    for key, (_, actions) in played.items():
        shares = behaviour.turns(actions, scripts)
        for who in ORDER if key[0] == BASE else (key[1],):
            turns[f"base: {who}s" if key[0] == BASE else labels[key]] = {n: shares[who, n] for n in behaviour.TURNS}
    ends = {labels[key]: behaviour.ends(games) for key, (games, _) in played.items()}
    stated = {labels[key]: behaviour.suspicions(*played[key]) for key in played if key[1] != "culprit"}
    asking, condemning, suspecting = _behaviour_titles(turns, ends, stated)
    pictures = [
        picture(figures.plot_shares(turns, asking, "turns, %"), "turns"),
        picture(figures.plot_shares(ends, condemning, "games, %"), "ends"),
        picture(figures.plot_suspicion(stated, suspecting), "suspicion"),
    ]
    numbers = {
        label: {n: m.mean for n, m in parts.items()} for table in (turns, ends) for label, parts in table.items()
    }
    yield Part("What they do", join(*pictures), numbers)


def _behaviour_titles(
    turns: Mapping[str, Mapping[str, Mean]], ends: Mapping[str, Mapping[str, Mean]],
    stated: Mapping[str, Mapping[str, Sequence[Mean]]],
) -> tuple[str, str, str]:  # fmt: skip
    """Say, short enough for a picture, what three show of MARO's civilians; without these, what they are of."""
    mine = "MARO: civilians"
    if mine not in turns or not all(stated[mine].values()):
        return "What becomes of a turn", "How games end", "Whom civilians suspect"
    asks = [f"{100 * turns[who]['asks'].mean:.0f} %" for who in (mine, "base: civilians")]
    condemned = [f"{100 * ends[who][behaviour.ENDS[0]].mean:.0f} %" for who in (mine, "base")]
    guilty, innocent = (stated[mine][who][-1] for who in ("culprits", "innocents"))
    more = "more than" if guilty.low > innocent.high else "no more than"
    return (
        f"MARO's civilians ask in {asks[0]} of their turns, base's in {asks[1]}",
        f"Culprits condemned: MARO's civilians {condemned[0]}, base {condemned[1]}",
        f"MARO suspects a culprit {more} an innocent",
    )


def elsewhere(run: Run) -> Iterator[Part]:
    """Did anything change outside the game?"""
    from maro_lib.study.transfer import SKILLS, beliefs, by_row, comparison, falsehoods

    items, parts, numbers = run.table("transfer/items.parquet"), [], {}
    if len(skills := comparison(items[items["family"] == SKILLS])):
        differs = (skills["holm"] < LEVEL).groupby(skills["arm"], sort=False).sum()
        counts = ", ".join(f"{arm} {n}" for arm, n in differs.items())
        title = f"Tasks that differ, of {skills['task'].nunique()}: {counts}"
        figure = figures.plot_before_after(*by_row(skills), title=title, xlabel="right, %")
        shown = skills.assign(changed=[f"{r.only_before} / {r.only_after}" for r in skills.itertuples()],
                              seen=["" if np.isnan(x) else f"{100 * x:.1f}" for x in skills["seen"]])  # fmt: skip
        parts += [picture(figure, "transfer"), _picked(shown, LABELS.skill_columns), tag("p", LABELS.seen)]
        numbers["skills"] = _plain(skills)
    if len(known := beliefs(items)):
        known["n"] = [rate.n for rate in known["both"]]
        parts += [tag("p", LABELS.beliefs), _picked(known.assign(holm=known["p"]), LABELS.belief_columns)]
        numbers["beliefs"] = _plain(known)
    if len(lies := falsehoods(items)):
        lies["n"] = [rate.n for rate in lies["goal"]]
        parts += [tag("p", LABELS.lies), _picked(lies, LABELS.lie_columns)]
        numbers["lies"] = _plain(lies)
    if left_out := json.loads(run.at("transfer/left_out.json").read_bytes()):
        parts.append(tag("p", LABELS.not_asked, *(tag("li", f"{task}: {why}") for task, why in left_out.items())))
        numbers["not asked"] = left_out
    yield Part("Outside the game", join(*parts), numbers)


def _picked(table: pd.DataFrame, columns: Mapping[str, str]) -> Html:
    """Some columns of a table of tests, under names of their own; what passes Holm is marked."""
    rows = [[_said(row[c]) for c in columns.values()] for row in table.to_dict("records")]
    return table_of(list(columns), rows, marked=table["holm"] < LEVEL)


def _said(x: object) -> str:
    if isinstance(x, Mean):
        return str(x).partition(" (n =")[0].replace(" %", "").replace(" points", "")  # these stand in the heading
    return p_value(x) if isinstance(x, float) else str(x)


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as plain numbers; a mean with its interval becomes three of them and its n."""
    return [{k: asdict(v) if isinstance(v, Mean) else v for k, v in row.items()} for row in table.to_dict("records")]


# --- how the training went ---------------------------------------------------------------------------


def training(run: Run) -> Iterator[Part]:
    from maro_lib.learn.training import finished

    trained = finished(run.at("learning"))
    parts = [tag("p", f"{int(trained.curve['step'].max())} steps; {trained.status}. ", *trained.notes)]
    known = trained.curve.dropna(axis="columns", how="all")
    last = known.ffill().iloc[-1].to_dict() if len(known) else {}
    title = "Every step"
    if "kl" in last:
        title = f"At the end: margin {signed(last['margin'], 2)}, KL to base {last['kl']:.2f}"
    parts.append(picture(figures.plot_curves(trained.curve, title), "training curves"))
    if run.n_rounds > 1:
        wins = wins_by_round(run.name, run.n_rounds)
        parts.append(picture(figures.plot_rounds(wins, "Games won, round by round", "games won, %"), "rounds"))
    yield Part("How the training went", join(*parts), {"status": trained.status, "last step": last})


def choice(run: Run) -> Iterator[Part]:
    from maro_lib.measure.choices import Choice

    one = run.record("choices.json", Choice)
    body = [[m["move"], f"{100 * m['base']:.1f} %", f"{100 * m['trained']:.1f} %"] for m in one["moves"]]
    guilty = ", ".join(one["culprits"])
    told = f"The vote that training changed most: {one['agent']} in {one['game']}; guilty: {guilty}."
    yield Part("One choice, before and after", join(tag("p", told), table_of(["move", "base", "trained"], body)), one)


# --- games worth reading -----------------------------------------------------------------------------


def games(run: Run) -> Iterator[Part]:
    from maro_lib.measure.matches import BASE, MARO, NOBODY, saved

    places = saved(run.at("matches"))
    if (MARO, "civilian") not in places or (BASE, NOBODY) not in places:
        return
    rule = str(run.summary.parameters.get("rule", "uniform"))
    shown, named = [], {}
    for title, key, game in chosen(places):
        tables = {name: read_table(places[key], name) for name in ("games", "actions", "dialogues")}
        row = tables["games"].set_index("game").loc[game]
        credit = decompose(tables["actions"], rule)
        script = read_scripts(places[key])[row["digest"]]
        view = show_game(tables, game, script=script, credit=pd.Series(credit, tables["actions"].index))
        shown.append(fold(join(tag("b", title), ": ", view.line), watch_link(run, places[key], game), view.html))
        named[title] = game
    note = LABELS.games.format(rule=rule)
    yield Part("Three games worth reading", join(tag("p", note, class_="muted"), *shown), named)


def chosen(places: dict[tuple[str, str], Path]) -> Iterator[tuple[str, tuple[str, str], str]]:
    """Choose a win that base loses, a loss, and the strangest game: title, line-up and the game's name."""
    from maro_lib.measure.matches import BASE, MARO, NOBODY, outcomes

    key = (MARO, "civilian")
    played = (Played(places[k], None, 0, 0, 0.0) for k in ((BASE, NOBODY), key))
    base, own = (outcomes(games).set_index("order") for games in played)
    gain = (own["civilians_won"] - base["civilians_won"]).sort_values(kind="stable")
    if gain.iloc[-1] > 0:
        yield "A win that the base loses", key, own.loc[gain.index[-1], "game"]
    lost = gain[own["civilians_won"].reindex(gain.index) == 0]
    if len(lost):
        title = "A loss where the base wins" if lost.iloc[0] < 0 else "A loss, as of the base"
        yield title, key, own.loc[lost.index[0], "game"]
    if len(expected := expected_words(places[key])):  # sampled by a model
        yield "The strangest: whose words were least expected", key, str(expected.idxmin())


# --- what else a reader needs ------------------------------------------------------------------------


def beside_published(run: Run) -> Iterator[Part]:
    from maro_lib.measure.matches import BASE

    measured, compared = run.table("social.parquet"), run.table("comparison.parquet")
    ours = {
        f"here: {'base' if arm == BASE else f'{arm}, {who}s trained'}": overall(part)
        for (arm, who), part in measured.groupby(["arm", "who"], sort=False)
    }
    table = published.beside(ours)
    body = [[name, *(x if isinstance(x, str) else number(x) for x in row)] for name, *row in table.itertuples()]
    paper = "; ".join(f"{what}: {value}" for what, value in published.PAPER.items())
    note = LABELS.published.format(judge=compared["judge"].iloc[0], paper=paper)
    html = join(table_of(["", *table.columns], body), tag("p", note, class_="muted"))
    yield Part("Beside what others published", html, pd.DataFrame(ours).to_dict())


def lost(run: Run) -> Iterator[Part]:
    """What was dropped, what failed, what was not run."""
    lines = [f"{name}: {record.status}{f' ({record.error})' if record.error else ''}"
             for name, record in run.summary.stages.items() if record.status not in ("ran", "skipped")]  # fmt: skip
    if run.has("training.json"):
        lines.append(run.record("training.json", Facts)["statement"])
    if run.has("social.parquet"):
        social = run.table("social.parquet")
        lost_values = int(social["value"].isna().sum())
        told = "could not be computed (0 / 0, or not judged)"
        lines.append(f"Of {len(social):,} measured values {lost_values:,} {told}.")
    yield Part("What was dropped or failed", tag("ul", *(tag("li", line) for line in lines)), lines)


def cost(run: Run) -> Iterator[Part]:
    summary = run.summary
    seconds = {name: record.seconds for name, record in summary.stages.items()}
    body = [[name, duration(s) if s else ""] for name, s in seconds.items()]
    body.append(["all together", duration(sum(seconds.values()))])
    times = table_of(["stage", "time"], body, marked=[*[False] * len(seconds), True])
    given = table_of(["name", "value"], [*summary.parameters.items()])
    about = table_of(["what", "value"], [*{**summary.git, **summary.host, **summary.versions}.items()])
    folded = fold("Parameters that were set", given), fold("Commit, machine, versions", about)
    yield Part("What it cost", join(times, *folded), {"seconds": seconds})


PARTS: dict[Callable[[Run], Iterator[Part]], tuple[str, ...]] = {  # in order, each with what it is made from
    stopped: (),
    answer: (),
    worlds_part: ("worlds.parquet",),
    found_part: (),
    luck: ("comparison.parquet",),
    differences: ("comparison.parquet",),
    judge_part: ("judge.parquet",),
    behaviour_part: ("matches",),
    elsewhere: ("transfer/items.parquet", "transfer/left_out.json"),
    training: ("learning/done.json",),
    choice: ("choices.json",),
    games: ("matches",),
    world_games_part: (),
    beside_published: ("social.parquet", "comparison.parquet"),
    lost: (),
    cost: (),
}
