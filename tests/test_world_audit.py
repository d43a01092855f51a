"""The audit of worlds: a broken law is named, with the game and the step; a good world is told in figures."""

import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from worlds import Says

from maro_lib.__main__ import main
from maro_lib.play import contract
from maro_lib.play.contract import check_contract, players_of, private_leak
from maro_lib.play.policies import RANDOM, SKILLED
from maro_lib.play.rollout import Game
from maro_lib.play.sitting import Sitting, SittingError
from maro_lib.play.world_audit import _by_seat, _fairness, audit_class, audit_world
from maro_lib.world.mystery import MurderMystery
from maro_lib.world.protocol import Illegal, Message
from maro_lib.worlds.commons import Commons, CommonsKnobs
from maro_lib.worlds.coordination import Coordination, CoordinationKnobs
from maro_lib.worlds.registry import WORLDS, WorldError, is_world, knob_values
from maro_lib.worlds.world import Happening, WorldRules

SMALL = CommonsKnobs(players=2, rounds=3, capacity=10, dead_below=2)
SILENT = CommonsKnobs(players=3, rounds=3, talk=False)
PLACE = r"commons breaks its contract in lake \d \(compact\), seed 7, step \d+: "


class Broken(Commons):
    """A commons with something wrong; its words and players are those of the commons."""

    __module__ = Commons.__module__


def broken(**methods):
    return type("Broken", (Broken,), methods | {"__module__": Commons.__module__})


def first_broken_law(world, knobs=SMALL):
    check_contract(world, world.generate(1, knobs), 7)


# --- one broken world for each law -------------------------------------------------------------------


def shrinking(self, entry):
    Commons.begin(self, entry)
    if entry == ("round", 2):
        del self.now.seats[0].messages[-1]


def rewriting(self, entry):
    Commons.begin(self, entry)
    if entry == ("round", 2):
        seat = self.now.seats[1]
        seat.messages[0] = seat.messages[0]._replace(content="You are somebody else.")


def endless(self, entry):
    Commons.begin(self, entry)
    if entry[0] == "harvest":
        self.now.stock = 10
        self.now.agenda.append(entry)


def never_ending(self):
    """A world in which progress stands still, for the agenda is filled again."""
    return 0.0


def half_over(self):
    return Commons.pending_players(self) if self.now.round < 2 else ()


def heard_as_it_comes(self, player, prompt, told):
    """Everybody learns at once what is taken, in the order in which the replies come in."""
    own = Commons.do(self, player, prompt, told)
    if prompt.phase == "harvest":
        self.announce("says", Happening("take", self.names[player]), name=self.names[player], text="Done.")
    return own


TIMES = count()


def by_how_often(self, rng):
    """In every second game the two talk in the other order at first."""
    start, *talks, harvest = Commons.plan(self, rng)[:4]
    return [start, *talks[:: 1 - 2 * (next(TIMES) % 2)], harvest]


def outside(self, rng, seats):
    self.kept = [0] * len(self.names)  # in the game, and not in its state
    return Commons.opened(self, rng, seats)


def afresh(self, player, prompt, told):
    """What is outside the state begins anew with the first reply: only later snapshots miss it."""
    if not self.now.log:
        self.kept = [0] * len(self.names)
    return remembering(self, player, prompt, told)


def remembering(self, player, prompt, told):
    own = Commons.do(self, player, prompt, told)
    self.kept[player] += own.get("amount", 0)
    return own


def over_at_once(self, rng):
    return []


def failing(self, player, prompt, told):
    raise KeyError("stock")


def misspelt(self, player, prompt, told):
    return Commons.do(self, player, prompt, told) | {"amont": 1}


def refusing(self, player, prompt, text):
    move = Commons.read(self, player, prompt, text)
    return move if prompt.phase == "talk" or "0" not in text else Commons.read(self, player, prompt, "")


def unasked(self, entry):
    Commons.begin(self, entry)
    for i in self.now.pending:
        self.now.seats[i].messages.append(Message("assistant", "I know."))


def on_a_side(cls, knobs, rng):
    dealt = Commons.deal(knobs, rng)
    return dealt | {"characters": [c | {"faction": "C"} for c in dealt["characters"]]}


def with_a_tuple(cls, knobs, rng):
    dealt = Commons.deal(knobs, rng)
    return dealt | {"facts": dealt["facts"] | {"pair": (1, 2)}}


LAWS = {
    "a payoff above the range": (
        {"payoffs": lambda self: [99.0, 1.0]}, "the payoff of [A-Z][a-z]+ is 99; declared are 0 to 30"),
    "a payoff below the range": ({"payoffs": lambda self: [1.0, -0.5]}, "the payoff of .* is -0.5; declared"),
    "a payoff that is no number": ({"payoffs": lambda self: [1.0, float("nan")]}, "the payoff of .* is nan"),
    "a payoff for somebody who is not there": (
        {"payoffs": lambda self: [1.0] * 3}, "3 payoffs and 3 successes for 2 seats"),
    "too few successes": ({"successes": lambda self: [1]}, "2 payoffs and 1 successes for 2 seats"),
    "half a success": ({"successes": lambda self: [1, 0.5]}, r"the success of .* is 0\.5; 0 or 1 are allowed"),
    "a success that is no number": (
        {"successes": lambda self: [True, False]}, "the success of .* is True; 0 or 1 are allowed"),
    "a misspelt note": ({"do": misspelt}, "`do` or `note` says `amont`, which is no declared column of `actions`"),
    "a column that is not declared": (
        {"own_record": lambda self: Commons.own_record(self) | {"fish": 3}},
        "column `fish` of `games` is written but not declared"),
    "a column that is not written": (
        {"own_columns": lambda self, action: {"amount": action.own.get("amount")}},
        "column `got` of `actions` is declared but not written"),
    "a column of another type": (
        {"own_record": lambda self: Commons.own_record(self) | {"stock": "some"}},
        "column `stock` of `games` is declared as int32, but holds 'some'"),
    "a column that all worlds have": (
        {"columns": {"games": Commons.columns["games"] | {"seed": ("int32", "a seed")}}},
        "its own column `seed` of `games` is one that all worlds have"),
    "a view that shrinks": ({"begin": shrinking}, "the view of .* shrank from"),
    "a view that changes": ({"begin": rewriting}, "message 0 in the view of .* changed after it was read"),
    "no end": ({"begin": endless, "progress": property(never_ending)}, "the game does not end within 2,000 replies"),
    "a progress that falls": (
        {"progress": property(lambda self: max(0.0, 1 - len(self.now.log) / 100))},
        "the progress went from .*; it grows, up to 1"),
    "nobody is asked, and it is not over": (
        {"pending_players": half_over}, "nobody is asked, but the game is not over"),
    "nobody is ever asked": ({"plan": over_at_once}, "nobody is asked for anything"),
    "what the seed does not decide": ({"plan": by_how_often}, "two games of one seed and the same replies differ in"),
    "something outside the state": (
        {"opened": outside, "do": remembering, "payoffs": lambda self: [float(min(30, k)) for k in self.kept]},
        "a restored game ends otherwise, with the same replies: the payoffs differ"),
    "something outside the state, later": (
        {"opened": outside, "do": afresh, "payoffs": lambda self: [float(min(30, k)) for k in self.kept]},
        "a restored game ends otherwise, with the same replies: the payoffs differ"),
    "who comes first": ({"do": heard_as_it_comes}, "the events depend on who of those that are asked together"),
    "code that fails": ({"do": failing}, "its code fails with KeyError: 'stock'"),
    "a refusal of what is on offer": (
        {"read": refusing}, "random players say what is on offer, but [A-Z][a-z]+'s .* is refused"),
    "a reply that the log lacks": (
        {"log": property(lambda self: self.now.log[1:])}, r"the log holds \d+ of \d+ replies"),
    "two endings": (
        {"close": lambda self: ({0: 1.0, 1: 1.0}, Commons.close(self)[1])}, "`close` tells other payoffs"),
    "a step that errs about the end": (
        {"step": lambda self, text, player=None: (False, Commons.step(self, text, player)[1])},
        "`step` says False for whether the game is over"),
    "a side that is not declared": (
        {"sides": ("A", "B"), "deal": classmethod(on_a_side)}, "[A-Z][a-z]+ is on the side 'C', which `sides`"),
    "a scenario that can't be written": (
        {"deal": classmethod(with_a_tuple)}, "its scenario, written and read again, is another"),
    "a snapshot that goes on": (
        {"snapshot": lambda self: self.now}, "a restored game shows other views than when the snapshot was taken"),
    "nobody by that number": (
        {"pending_players": lambda self: tuple(i + 5 for i in Commons.pending_players(self))},
        r"player \d is asked, whom there is not"),
    "no question": ({"begin": unasked}, "[A-Z][a-z]+ is asked, but its view does not end with a question"),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
def test_a_broken_law_is_named_with_the_game_and_the_step(law):
    methods, told = LAWS[law]
    with pytest.raises(WorldError, match=PLACE + told):
        first_broken_law(broken(**methods))


def adds_for_ever(self, entry):
    Commons.begin(self, entry)
    if entry == ("round", 2):
        self.now.agenda.append(entry)


def loops(self, entry):
    Commons.begin(self, entry)
    while entry == ("round", 2):
        pass


@pytest.mark.parametrize(("begin", "seconds", "told"), [
    (adds_for_ever, 60, r"[\d,]+ entries of the agenda .*the last of them \('round', 2\), and nobody was asked"),
    (loops, 3, "nobody was asked for anything within 3 s"),
], ids=["adds for ever", "loops"])  # fmt: skip
def test_a_world_that_asks_nobody_is_stopped_and_named_with_the_step(begin, seconds, told, monkeypatch):
    monkeypatch.setattr(contract, "_MOST_SECONDS", seconds)
    law = f"^{PLACE}it goes on without asking anybody: {told}"
    with pytest.raises(WorldError, match=law) as raised:
        first_broken_law(broken(begin=begin))
    assert "step 4:" in str(raised.value), "two have talked and two have fished"
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_plan_of_many_entries_that_ask_nobody_is_no_broken_law():
    world = broken(plan=lambda self, rng: [*Commons.plan(self, rng), *[("nothing",)] * 20_000])
    first_broken_law(world)


def test_nobody_sits_down_to_a_game_that_never_asks(tmp_path):
    script = Commons.generate(1, SMALL)
    game = Game("g", 0, script, 0, WorldRules(), broken(begin=lambda self, entry: self.now.agenda.append(entry)))
    with pytest.raises(SittingError, match=r"lake \d: the game does not come to a question: 10,0"):
        Sitting(game, dict.fromkeys(script.names, SKILLED), tmp_path)


@pytest.mark.parametrize("knobs", [SMALL, SILENT, CommonsKnobs()])
def test_the_same_world_unbroken_keeps_its_contract(knobs):
    first_broken_law(broken(), knobs)


@pytest.mark.parametrize("name", [n for n in WORLDS if n != "textarena" or find_spec("textarena")])
def test_every_world_that_comes_along_keeps_its_contract(name):
    world = audit_world(name, n_games=1)
    assert world.problems == []


# --- leaks -------------------------------------------------------------------------------------------


def loose(name, method):
    """A coordination that tells everybody what one seat alone knows."""
    return type("Loose", (Coordination,), {name: method, "__module__": Coordination.__module__})


def telling_all(self, player):
    return Coordination.beginning(self, player) + str([c["neighbours"] for c in self.script.private])


def briefing_all(self, player):
    brief = Coordination.brief(self, player)
    return brief._replace(facts={**brief.facts, "private": self.script.private})


def showing_all(self, entry):
    Coordination.begin(self, entry)
    for seat in self.now.seats:
        seat.events.append(Happening("say", "nobody", value=self.script.private[0]["neighbours"]))


def asking_by_secret(self, entry):
    """Who has no neighbour named Zoe is asked."""
    Coordination.begin(self, entry)
    for i, private in enumerate(self.script.private):
        if "Zoe" in private["neighbours"]:
            del self.now.pending[i]


@pytest.mark.parametrize(("name", "method", "told"), [
    ("beginning", telling_all, r"what [A-Z]\w+ alone knows reached [A-Z]\w+, whose views depend on it"),
    ("brief", briefing_all, "whose facts depend on it"),
    ("begin", showing_all, "whose events depend on it"),
    ("begin", asking_by_secret, "alone knows decides who is asked"),
])  # fmt: skip
def test_a_leak_is_named_with_its_owner_and_its_reader(name, method, told):
    world = loose(name, method)
    script = Coordination.generate(0, CoordinationKnobs(players=4, rounds=1))
    assert re.search(told, private_leak(world, script, 0))
    with pytest.raises(WorldError, match=f"coordination breaks its contract in .*, seed 0, step 0: .*{told}"):
        check_contract(world, script, 0)
    assert private_leak(Coordination, script, 0) == ""


def test_a_seat_may_say_itself_what_it_alone_knows():
    """Its words are the same in both games, and are no leak of the world's."""
    script = Coordination.generate(0, CoordinationKnobs(players=4))
    players = Says("open", lambda r: "PICK red" if r.prompt.commands else str(r.brief.private))
    assert private_leak(Coordination, script, 0, players=players) == ""


def test_a_reply_that_only_its_owner_may_give_is_an_act_and_no_leak():
    def read(self, player, prompt, text):
        is_allowed = "Zoe" not in self.others(player) or prompt.phase != "talk"
        return Coordination.read(self, player, prompt, text) if is_allowed else Illegal("form")

    assert private_leak(loose("read", read), Coordination.generate(0), 0) == ""


def test_a_fact_that_stays_the_same_would_hide_a_leak():
    world = loose("another", classmethod(lambda cls, fact, value: value))
    with pytest.raises(WorldError, match="`another` gives no other value for `neighbours`"):
        check_contract(world, Coordination.generate(0), 0)


# --- the report --------------------------------------------------------------------------------------


def lines(report):
    return dict(report.lines)


@pytest.fixture(scope="module")
def commons():
    return audit_world("commons", {"rounds": 3}, n_games=60)


def test_a_good_world_is_told_in_figures(commons):
    assert commons.problems == []
    told = lines(commons)
    assert told["contract"] == "kept in 5 scenarios"
    assert told["leak check"] == "not looked for: the scenarios hold nothing in `private`"
    assert "rounds 3" in told["knobs"]
    assert told["fair, skilled"] == "yes: all of one role get the same in a game"
    assert told["all alike, skilled"].startswith("all win in 100.0 %")
    assert told["payoffs"].endswith("declared are 0 to 120")


def test_who_holds_back_alone_loses_and_all_together_gain(commons):
    assert lines(commons)["skill, one alone"].startswith("costs: -")
    assert lines(commons)["skill, all of them"].startswith("pays: ")


def test_every_style_meets_every_other(commons):
    table = next(t for what, t in commons.tables.items() if what.startswith("mean payoff"))
    assert list(table) == list(table.index) == list(players_of(Commons))
    assert table.loc["fair", "fair"] == 15  # 40 - 20 in the lake, each of four takes 5, three times
    assert table.loc["greedy", "fair"] > table.loc["fair", "fair"] > table.loc["greedy", "greedy"]


def test_who_wins_by_seat_and_by_role_has_intervals_over_games(commons):
    by_role, by_seat = commons.tables["who wins, by role"], commons.tables["who wins, by seat"]
    assert list(by_role["role"]) == ["fisher"] * 2
    assert list(by_seat["seat"]) == [0, 1, 2, 3] * 2
    assert {r.n for r in [*by_role["success"], *by_role["payoff"], *by_seat["success"]]} == {60}
    skilled = by_role.set_index("players").loc["skilled"]
    assert (skilled["success"].mean, skilled["payoff"].mean) == (1, 15)


def test_words_are_counted_in_both_registers(commons):
    words = commons.tables["words per view, skilled players"].set_index("register")
    assert words.loc["compact", "at the start"] < words.loc["prose", "at the start"] < words.loc["prose", "whole view"]
    assert (words["whole view"] <= words["longest"]).all()
    letters = audit_class(Commons, SMALL, n_games=2, count_tokens=len).tables["tokens per view, skilled players"]
    assert letters["at the start"].min() > 100


def test_an_unfair_seat_is_seen():
    first = broken(payoffs=lambda self: [p + 3 * (i == 0) for i, p in enumerate(Commons.payoffs(self))])
    report = audit_class(first, CommonsKnobs(players=3, rounds=2), n_games=40)
    assert lines(report)["fair, skilled"].startswith("no: seat 0, +2.00 to the mean of its role, p by Holm < 0.001")


def test_a_shared_payoff_is_fair_and_skill_pays_together():
    report = audit_world("coordination", {"players": 4, "graph": "ring"}, n_games=30)
    assert report.problems == []
    assert lines(report)["leak check"] == "what one seat alone knows reached nobody"
    assert lines(report)["fair, random"] == "yes: all of one role get the same in a game"
    assert lines(report)["skill, all of them"].startswith("pays")


def test_of_many_seats_the_first_are_shown():
    told = str(audit_world("coordination", {"players": 15, "rounds": 1}, n_games=2))
    assert "(and 3 seats more)" in told
    assert "1 game each" in told


def test_a_mystery_is_a_world_too():
    report = audit_world("mystery", n_games=20)
    assert report.problems == []
    assert set(report.tables["who wins, by role"]["role"]) == {"culprit", "civilian"}
    words = report.tables["words per view, skilled players"].set_index("register")
    assert words.loc["compact", "longest"] < words.loc["prose", "longest"]
    assert list(players_of(MurderMystery)) == ["random", "skilled", "naive"]


def test_a_broken_world_is_told_of_and_not_measured():
    counter = count()
    report = audit_class(broken(payoffs=lambda self: [float(next(counter) % 2)] * 2), SMALL, n_games=10)
    assert len(report.problems) == 1
    assert "commons breaks its contract in lake 0 (compact), seed 0, step" in str(report)
    assert not report.tables


def test_knobs_that_make_no_scenario_are_a_problem():
    report = audit_world("coordination", {"graph": "ring", "players": 7, "values": 2}, n_games=2)
    assert report.problems == [
        "no scenario can be made of these knobs: values: 2 colours may be too few for this graph; give 3, or 0"
    ]


@pytest.mark.parametrize(("error", "told"), [(KeyError("pie"), "KeyError: 'pie'"), (ValueError("no pie"), "no pie"),
                                             (AttributeError("pie"), "AttributeError: pie")])  # fmt: skip
def test_an_error_in_deal_is_a_problem(error, told):
    def deal(cls, knobs, rng):
        raise error

    report = audit_class(broken(deal=classmethod(deal)), SMALL, n_games=2)
    assert report.problems == [f"no scenario can be made of these knobs: {told}"]


def test_where_all_of_a_game_fare_alike_a_share_has_the_interval_of_games(commons):
    random = commons.tables["who wins, by role"].set_index("players").loc["random", "success"]
    assert (random.mean, random.n) == (0, 60)
    assert random.high == pytest.approx(0.0602, abs=1e-3)  # Wilson, none of 60: 3.84 / (60 + 3.84)


def test_one_chance_in_twenty_is_not_yet_unfair():
    games = pd.DataFrame({"order": range(12), "script": "s", "success": [[1, 1]] * 12,
                          "payoffs": [[1.0, 0.0]] * 10 + [[0.0, 1.0]] * 2})  # fmt: skip
    scripts = [SimpleNamespace(title="s", characters=[SimpleNamespace(role="fisher", faction="")] * 2)]
    # two-sided: 2 * (1 + 12 + 66) / 4096 = 0.039, doubled by Holm for two seats: 0.077; with 11 of 12: 0.013; 12: 0.001
    for n_ahead, verdict in ((10, "yes"), (11, "yes"), (12, "no")):
        games["payoffs"] = [[1.0, 0.0]] * n_ahead + [[0.0, 1.0]] * (12 - n_ahead)
        assert _fairness(_by_seat(games, scripts)).startswith(verdict)


def test_a_style_that_says_what_is_not_on_offer_is_named(monkeypatch):
    monkeypatch.setattr(Commons, "styles", Commons.styles | {"wild": lambda request, _: "TAKE -1"})
    with pytest.raises(WorldError, match=r"wild players say what is on offer, but .*'s 'TAKE -1' is refused"):
        first_broken_law(Commons)


def test_the_report_is_the_same_twice():
    assert str(audit_world("commons", {"players": 2}, n_games=5)) == str(
        audit_world("commons", {"players": 2}, n_games=5)
    )


# --- the command -------------------------------------------------------------------------------------


def test_knobs_are_read_as_yaml():
    assert knob_values(["players=4", "talk=false", "task=leader", "x=1.5"]) == {
        "players": 4, "talk": False, "task": "leader", "x": 1.5,
    }  # fmt: skip
    for word in ("players", "players=", "=4", "a b=1"):
        with pytest.raises(WorldError, match=re.escape(f"knobs: {word!r} is not name=value")):
            knob_values([word])


def test_a_name_is_a_world_or_a_script():
    assert is_world("commons")
    assert is_world("mystery")
    assert is_world("mine.py:Mine")
    assert not is_world("quiet_hours")
    assert not is_world("commons.yaml")


def test_the_command_audits_a_world_with_knobs(capsys):
    assert main(["audit", "coordination", "--knobs", "players=4", "task=leader", "--games", "3"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("coordination: ")
    assert "players 4, rounds 3, task leader" in told


def test_the_command_says_what_is_wrong(capsys):
    for words, told in (
        (("commons", "--knobs", "plyers=4"), "world_knobs: commons has no 'plyers'; did you mean 'players'?"),
        (("comons", "--knobs", "players=4"), "world: 'comons' is unknown; did you mean 'commons'?"),
        (("coordination", "--knobs", "players"), "knobs: 'players' is not name=value"),
    ):
        assert main(["audit", *words]) == 1
        assert told in capsys.readouterr().err
    assert main(["audit", "coordination", "--knobs", "graph=ring", "players=7", "values=2"]) == 1
    assert "PROBLEM" in capsys.readouterr().out


MINE = '''
from dataclasses import dataclass

from maro_lib.world.protocol import Blank, Command
from maro_lib.worlds.world import World, check_knobs, seats


@dataclass(frozen=True)
class PickKnobs:
    players: int = 3


class Pick(World):
    """Each picks a side of a coin; a pair gets the more."""

    name = "pick"
    question = "Who picks what?"
    success = "picked heads"
    columns = {"games": {"heads": ("int32", "how many picked heads")}, "actions": {"side": ("text", "what it picked")}}
    knobs = PickKnobs
    styles = {"skilled": lambda request, rng: "PICK heads"}

    @classmethod
    def deal(cls, knobs, rng):
        return {"title": "coin", "characters": seats(rng, knobs.players, "player")}

    @classmethod
    def payoff_range(cls, script):
        return 0.0, 1.0

    def plan(self, rng):
        return [("pick", i) for i in rng.sample(range(len(self.names)), len(self.names))]

    def beginning(self, player):
        return self.words.rules.format(name=self.names[player])

    def begin(self, entry):
        self.choose(entry[1], "pick", [Command("PICK", (Blank("side", ("heads", "tails")),))])

    def do(self, player, prompt, told):
        return {"side": told.values["side"]}

    def payoffs(self):
        return [PAYOFF * s for s in self.successes()]

    def successes(self):
        picked = {a.player for a in self.now.log if a.own.get("side") == "heads"}
        return [int(i in picked) for i in range(len(self.names))]

    def own_record(self):
        return {"heads": sum(self.successes())}
'''
WORDS = """
compact:
  rules: You are {name}.
  pick: '{commands}?'
prose:
  rules: You are {name}, and pick a side of a coin.
  pick: Pick a side. You may say {commands}.
"""


def command(*words):
    return subprocess.run([sys.executable, "-m", "maro_lib", "audit", *words], capture_output=True, text=True)


@pytest.fixture
def own_world(tmp_path):
    """A world of one's own, with its words beside it."""

    def write(payoff, words=WORDS):
        (tmp_path / "my_pick.py").write_text(MINE.replace("PAYOFF", payoff), encoding="utf-8")
        if words:
            (tmp_path / "my_pick.yaml").write_text(words, encoding="utf-8")
        return f"{tmp_path}/my_pick.py:Pick"

    return write


def test_code_of_ones_own_is_run_only_if_that_is_allowed(own_world):
    done = command(own_world("1.0"), "--games", "4")
    assert (done.returncode, done.stdout) == (1, "")
    assert "is code, which runs with all your rights" in done.stderr
    assert "--allow-code" in done.stderr


def test_a_world_of_ones_own_is_audited(own_world):
    done = command(own_world("1.0"), "--allow-code", "--knobs", "players=2", "--games", "20")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pick: Who picks what?")
    assert "skill, one alone       pays: " in done.stdout


def test_a_broken_world_of_ones_own_is_told_which_law(own_world):
    done = command(own_world("2.0"), "--allow-code", "--games", "4")
    assert done.returncode == 1
    assert re.search(
        r"PROBLEM +pick breaks its contract in coin 0 \(compact\), seed 0, step 3: the payoff of \w+ is 2", done.stdout
    )


@pytest.mark.parametrize(("words", "told"), [
    ("", r"coin 0 \(compact\), seed 0, step 0: its code fails with WordsError: .*my_pick.yaml: can't be read"),
    (WORDS.replace("{name}, and", "{nmae}, and"), r"coin 1 \(prose\), seed 1, step 0: .* KeyError: 'nmae'"),
], ids=["without words", "a brace in prose"])  # fmt: skip
def test_wrong_words_are_told_in_the_register_that_they_are_in(own_world, words, told):
    done = command(own_world("1.0", words), "--allow-code", "--games", "4")
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(told, done.stdout)


@pytest.mark.parametrize(("deal", "words", "told"), [
    ('"coin"', ["players=0"], "players=0 (seed 0): characters: Tuple should have at least 1 item after validation, "
     "not 0"),
    ('{}["coin"]', [], "no knob turned (seed 0): KeyError: 'coin'"),
])  # fmt: skip
def test_an_error_while_a_world_deals_is_one_sentence_with_world_and_knobs(own_world, capsys, deal, words, told):
    name = own_world("1.0")
    file = Path(name.rpartition(":")[0])
    file.write_text(file.read_text().replace('"coin"', deal))
    assert main(["play", name, "--allow-code", "--knobs", *words]) == 1
    assert capsys.readouterr().err == f"world: pick: no scenario can be dealt with {told}\n"


def test_the_command_says_which_knob_of_a_world_that_comes_along_cant_be_dealt(capsys):
    assert main(["play", "coordination", "--knobs", "values=2", "players=9"]) == 1
    assert capsys.readouterr().err == (
        "world: coordination: no scenario can be dealt with values=2, players=9 (seed 0): values: 2 colours may be too "
        "few for this graph; give 3, or 0\n"
    )


def test_random_players_are_among_those_of_every_world():
    assert all(players_of(world)["random"] is RANDOM for world in (Commons, Coordination, MurderMystery))
