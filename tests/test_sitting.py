"""People at the table: nothing counts before it is understood, nothing is lost, and nobody sees another's secrets."""

import contextlib
import itertools
import os
import random
import re
import resource
import signal
import subprocess
import sys

import pandas as pd
import pytest
from servers import Server
from worlds import varied_scripts, world

from maro_lib.__main__ import main
from maro_lib.measure.people import people_results
from maro_lib.model.players import Player
from maro_lib.play.leaks import plant
from maro_lib.play.policies import NAIVE, SKILLED, Reply
from maro_lib.play.rollout import Game, play
from maro_lib.play.sitting import Person, Sitting, SittingError, find_seat, instead, people_played, sit_down
from maro_lib.show import terminal
from maro_lib.show.debrief import debrief
from maro_lib.show.seat import chat_of, sit
from maro_lib.show.table import Table, _all_seated, parse_seats
from maro_lib.show.terminal import CLEAR, play_sitting
from maro_lib.world.mystery import Rules
from maro_lib.world.phrases import phrasebook
from maro_lib.world.protocol import Message
from maro_lib.worlds.registry import scenarios
from maro_lib.worlds.world import WorldRules

ADA = Person("Ada")


@pytest.fixture(autouse=True)
def _outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))


SHORT = Rules(rounds=1)


def sitting_of(folder, policy=SKILLED, script=None, seat="Ann", rules=SHORT):
    game = Game("g", 0, script or world(), 3, rules)
    return Sitting(game, {"civilian": policy, "culprit": policy, seat: ADA}, folder)


@pytest.fixture
def sitting(tmp_path):
    """A game in which a person plays Ann and is asked first."""
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    return sitting


def seen(sitting):
    return [sitting.view(i) for i in range(len(sitting.game.script.names))]


# --- replies -----------------------------------------------------------------------------------------


def test_a_reply_that_would_be_refused_is_explained_and_changes_nothing(sitting):
    sitting.say(0, "I am Ann.")
    before = seen(sitting), sitting.session.env.log.copy()
    why = sitting.say(0, "dance")
    assert "does not count" in why
    assert "ASK <name>" in why
    assert (seen(sitting), sitting.session.env.log) == before


def test_without_a_correction_by_the_rules_it_is_refused_all_the_same(tmp_path):
    sitting = sitting_of(tmp_path, rules=Rules(rounds=1, corrections=0))
    sitting.go_on()
    sitting.say(0, "I am Ann.")
    assert sitting.say(0, "dance")
    assert sitting.awaited == (0,)


def test_the_others_move_until_the_person_is_asked(sitting):
    assert sitting.awaited == (0,)
    sitting.say(0, "I am Ann.")
    assert sitting.awaited == (0,)
    assert not sitting.is_over
    assert [a.player for a in sitting.session.env.log if a.phase == "intro"] == [0, 1, 2, 3]


def test_who_is_not_asked_is_told_so(sitting):
    with pytest.raises(SittingError, match="Ben: is not asked"):
        sitting.say(1, "I am Ben.")


def test_a_person_in_a_batch_is_told_where_people_play():
    with pytest.raises(SittingError, match="person Ada: a person plays at the table"):
        play([Game("g", 0, world(), 0, SHORT)], ADA)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "\x1b[2J", "x" * 41])
def test_a_name_is_a_short_visible_line(name):
    with pytest.raises(SittingError, match="visible"):
        Person(name)


# --- the tables --------------------------------------------------------------------------------------


def test_a_person_who_plays_as_a_policy_leaves_the_tables_of_that_policy(tmp_path):
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    sitting.played_by(SKILLED, 0)
    alone = play([sitting.game], SKILLED)
    mine = sitting.tables()
    for name, of_people in (("games", ["policies"]), ("actions", ["policy"]), ("dialogues", [])):
        a, b = (played.table(name).drop(columns=of_people) for played in (mine, alone))
        pd.testing.assert_frame_equal(a, b)
    assert list(mine.table("games")["policies"][0]) == ["person Ada", *["scripted(1,1)"] * 3]


def test_all_that_is_kept_of_a_person_is_the_name(tmp_path):
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    sitting.played_by(SKILLED, 0)
    table = sitting.tables().table("actions")
    assert set(table["policy"]) == {"person Ada", "scripted(1,1)"}
    assert not any(os.environ.get("USER", "no user") in str(p) for p in tmp_path.rglob("*"))


def test_what_another_would_have_done_is_what_it_does_in_that_seat(tmp_path):
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    sitting.played_by(SKILLED, 0)
    actions = sitting.tables().table("actions")
    assert instead(sitting, 0, SKILLED) == [*actions.loc[actions["seat"] == 0, "text"]]
    assert instead(sitting, 0, NAIVE) != instead(sitting, 0, SKILLED)


def test_who_is_found_out_has_an_interval_from_ten_games_on():
    for seed in range(10):
        table = Table({"culprit": "Ada"}, against="skilled", seed=seed, rules=SHORT)
        with table.laid() as sitting:
            sitting.go_on()
            sitting.played_by(SKILLED, *sitting.people)
        if seed == 8:
            few = people_results(people_played(table.folder))
    games = people_played(table.folder)
    (row,) = people_results(games).itertuples(index=False)
    assert few["culprits found out"][0].endswith("of 9: too few to tell")
    caught = sum(a in c for a, c in zip(games["accused"], games["culprits"], strict=True))
    assert row[:3] == ("culprit", "scripted(1,1)", 10)
    assert row[4].startswith(f"{10.0 * caught:.1f} % [")
    assert games["game"].is_unique


# --- nothing is lost ---------------------------------------------------------------------------------


def test_a_game_that_was_left_goes_on_where_it_was(tmp_path):
    whole = sitting_of(tmp_path / "whole")
    whole.go_on()
    whole.played_by(SKILLED, 0)
    said = [r.text for r in whole.session.replies[0]]
    for reply in said:  # a new kernel for each reply
        sitting = sitting_of(tmp_path / "parts")
        sitting.go_on()
        assert sitting.say(0, reply) == ""
    for name in ("games", "actions", "dialogues"):
        pd.testing.assert_frame_equal(sitting.tables().table(name), whole.tables().table(name))


def test_killed_in_a_reply_it_has_all_that_was_said(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from worlds import world
from maro_lib.play.policies import SKILLED
from maro_lib.play.rollout import Game
from maro_lib.play.sitting import Person, Sitting
from maro_lib.world.mystery import Rules
players = {{"civilian": SKILLED, "culprit": SKILLED, "Ann": Person("Ada")}}
s = Sitting(Game("g", 0, world(), 3, Rules(rounds=1)), players, Path({str(tmp_path)!r}))
s.go_on()
s.say(0, "I am Ann.")
s.session.take(0, s.session.replies[0][0])
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    sitting = sitting_of(tmp_path)
    assert sitting.session.replies[0] == [Reply("I am Ann.")]
    assert sitting.awaited == (0,)


def test_a_game_that_went_on_in_another_window_is_left_as_it_is_there(tmp_path):
    here, there = sitting_of(tmp_path), sitting_of(tmp_path)
    here.go_on()
    there.go_on()
    there.say(0, "I am Ann, there.")
    with pytest.raises(SittingError, match="another window"):
        here.say(0, "I am Ann, here.")
    assert sitting_of(tmp_path).session.replies == there.session.replies


def test_a_full_disk_says_so_and_the_game_goes_on(tmp_path):
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, before[1]))
        with pytest.raises((SittingError, OSError, RuntimeError), match=r"free space|can't be"):
            sitting.say(0, "I am Ann.")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sitting = sitting_of(tmp_path)
    sitting.go_on()
    assert sitting.say(0, "I am Ann.") == ""


def test_a_game_is_called_the_same_everywhere_and_other_weights_play_another(tmp_path):
    class Model:
        name = "model"

        def __init__(self, fingerprint):
            self.fingerprint = fingerprint

        def act(self, requests):
            return SKILLED.act(requests)

    one, other = (sitting_of(tmp_path, policy=Model(weights)) for weights in ("first", "second"))
    assert one.game.name == other.game.name
    assert one.folder != other.folder


def test_after_a_finished_game_the_next_is_dealt(tmp_path):
    games = [Game("g", 0, world(), seed, SHORT) for seed in range(2)]
    tables = [(g, {"civilian": SKILLED, "culprit": SKILLED, "Ann": ADA}) for g in games]
    first = sit_down(tables, tmp_path)
    first.go_on()
    first.played_by(SKILLED, 0)
    assert sit_down(tables, tmp_path).game.seed == 1


# --- who sits where ----------------------------------------------------------------------------------


def test_a_seat_is_a_faction_or_a_character():
    script = world()
    assert [find_seat(script, seat) for seat in ("culprit", "civilian", "Dot")] == [2, 0, 3]
    with pytest.raises(SittingError, match="Ann, Ben, Cal, Dot"):
        find_seat(script, "Zed")


def test_two_people_in_one_seat_are_told():
    table = Table({"culprit": "Ada", "Cal": "Bob"}, against="skilled")
    name = table._script(0).culprits[0]
    with (
        pytest.raises(SittingError, match=f"Ada and Bob would both sit in the seat of {name}"),
        Table({"culprit": "Ada", name: "Bob"}, against="skilled").laid(),
    ):
        pass
    with pytest.raises(SittingError, match="Ada sits there"):
        parse_seats(["culprit=Ada", "culprit=Bob"], "you")


def test_the_embedded_model_is_refused_where_it_cant_read():
    table = Table({"civilian": "Ada"}, against="embedded", case="quiet_hours")
    with pytest.raises(SittingError, match="told in prose, which the embedded model can't read"), table.laid():
        pass


def test_an_opponent_that_is_not_there_is_a_sentence(capsys):
    assert main(["play", "--against", "/nowhere"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("against: model '/nowhere' can't be loaded")
    assert "Traceback" not in said
    assert main(["play", "--against", "skiled"]) == 1
    assert "'skiled' is nobody's name; did you mean 'skilled'?" in capsys.readouterr().err


def test_a_server_s_model_has_a_name(capsys):
    assert main(["play", "--server", "http://127.0.0.1:1/v1"]) == 1
    assert "give the model's name" in capsys.readouterr().err


def test_a_whole_game_against_a_server_s_model(capsys, monkeypatch):
    rng = random.Random(0)
    monkeypatch.setattr("builtins.input", lambda *_: rng.choice(["1", "2", "0", "Why?"]))
    with Server() as server:
        assert main(["play", "quiet_hours", "--against", "m", "--server", server.url, "--name", "Ada"]) == 0
        assert len(server.games) > 20, "the others asked the server for every move"
    assert re.search(r"Ada: You were .*, civilian, and (reached|missed) your goal", capsys.readouterr().out)


def test_an_opponent_that_can_t_move_is_a_sentence_and_the_game_waits(tmp_path):
    class Down:
        name = "down"

        def act(self, requests):
            raise RuntimeError("no answer in 7 attempts")

    sitting = sitting_of(tmp_path, policy=Down())
    with pytest.raises(SittingError, match=r"down can't move: no answer in 7 attempts\. What was said is kept"):
        sitting.say(0, "I am Ann.")
    assert sitting_of(tmp_path, policy=Down()).session.replies[0] == [Reply("I am Ann.")]


def test_one_opponent_in_many_seats_is_made_ready_once():
    with Table({"civilian": "Ada"}, against="naive").laid() as sitting:
        policies = {id(p) for i, p in enumerate(sitting.session.seats) if i not in sitting.people}
    assert len(policies) == 1
    player = Player(model="embedded", precision="float32")
    with contextlib.ExitStack() as stack:
        seated = _all_seated({"civilian": player, "culprit": player}, stack)
        assert seated["civilian"] is seated["culprit"], "one model in memory"


# --- the terminal ------------------------------------------------------------------------------------


def screens_of(sitting, seed=0):
    """What a terminal shows, cut where it is cleared: whose turn it is, and the text."""
    rng, shown, screens = random.Random(seed), [], []

    def tell(text):
        if text == CLEAR:
            screens.append("\n".join(shown))
            shown.clear()
        else:
            shown.append(text)

    def ask(question):
        shown.append(question)
        return rng.choice(["1", "2", "0", "/all", "Tell me all."])

    assert play_sitting(sitting, ask, tell)
    return screens


def test_people_take_turns_and_nobody_sees_anothers_secrets(tmp_path):
    planted = plant(world())
    game = Game("g", 0, planted.script, 0, Rules(rounds=2))
    people = {"Ann": Person("Ada"), "Cal": Person("Cy"), "civilian": SKILLED}
    sitting = Sitting(game, people, tmp_path)
    screens = screens_of(sitting)
    assert len(screens) > 10
    for screen in screens:
        owners = {planted.owners[m][0] for m in re.findall(r"canary\d+x", screen)} - {"everybody"}
        assert len(owners) <= 1, f"{owners} on one screen"
    assert {o for s in screens for m in re.findall(r"canary\d+x", s) for o in [planted.owners[m][0]]} >= {"Ann", "Cal"}


def test_what_can_t_be_an_answer_is_said_and_asked_again(tmp_path):
    sitting = sitting_of(tmp_path)
    answers, told = iter(["", "/foo", "I am Ann.", "9", "2", "1", "/quit"]), []
    assert not play_sitting(sitting, lambda _: next(answers), told.append)
    said = "\n".join(told)
    assert "Say something." in said
    assert "/foo: no such command" in said
    assert "Choose from 1 ask, 2 search." in said
    assert sitting.session.replies[0][0] == Reply("I am Ann.")


def bargaining(tmp_path):
    """A seller who opens, so that it may name a price or leave; a buyer by rule."""
    (script,) = scenarios("buying", 1, 0, {"opens": "seller", "no_deal": 0.0})
    return Sitting(Game("g", 0, script, 0, WorldRules()), {"seller": ADA, "buyer": SKILLED}, tmp_path)


@pytest.mark.parametrize(("words", "said"), [
    (["leave", "back", "offer", "90", "Fine.", "/quit"], "OFFER 90: Fine."),
    (["leave", "2", "offer", "90", "", "/quit"], "OFFER 90"),
    (["leave", "", "offer", "90", "Fine.", "/quit"], "OFFER 90: Fine."),
    (["offer", "", "leave", "yes"], "LEAVE"),
    (["offer", "back", "leave", "1"], "LEAVE"),
    (["offer", "90", "Back", "offer", "80", "", "/quit"], "OFFER 80"),
    (["offer", "90", "I am back.", "/quit"], "OFFER 90: I am back."),
])  # fmt: skip
def test_a_choice_can_be_reconsidered_until_all_is_said(tmp_path, words, said):
    sitting, answers = bargaining(tmp_path), iter(words)
    play_sitting(sitting, lambda _: next(answers), lambda _: None)
    assert [reply.text for reply in sitting.session.replies[0]] == [said]
    assert next(answers, None) is None, "each word was asked for"


def test_where_there_is_no_choice_an_empty_line_undoes_nothing(tmp_path):
    """Of many blanks one after the other: `back` begins anew, an empty line is only asked again."""
    (script,) = scenarios("commons", 1, 0, {"talk": False})
    sitting = Sitting(Game("g", 0, script, 0, WorldRules()), {script.names[0]: ADA, "fisher": SKILLED}, tmp_path)
    answers, told = iter(["", "back", "5", "/quit"]), []
    assert not play_sitting(sitting, lambda _: next(answers), told.append)
    assert sitting.session.replies[0] == [Reply("TAKE 5")]
    assert sum("Choose from 0 to 40." in text for text in told) == 2


def test_who_leaves_a_shared_screen_leaves_it_empty(tmp_path):
    people = {"Ann": ADA, "Cal": Person("Cy"), "civilian": SKILLED}
    sitting = Sitting(Game("g", 0, world(), 0, SHORT), people, tmp_path)
    answers, told = iter(["", "/all", "/quit"]), []
    assert not play_sitting(sitting, lambda _: next(answers), told.append)
    assert told[-1] == CLEAR


def test_a_models_words_cant_write_elsewhere_on_the_screen():
    told = terminal.on_screen(Message("user", "I am \x1b[2J\x1b]0;owned\x07 here\u202e."))
    assert not set(told) & {"\x1b", "\x07", "\u202e"}
    assert "here" in told


def test_leaving_keeps_the_game_and_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    answers = itertools.chain(["I am here.", "/help", "/quit"])
    monkeypatch.setattr("builtins.input", lambda *_: next(answers))
    command = ["play", "--against", "skilled", "--name", "Ada"]
    assert main(command) == 0
    assert "The game is kept" in capsys.readouterr().out
    rng = random.Random(0)
    monkeypatch.setattr("builtins.input", lambda *_: rng.choice(["1", "2", "0", "Why?"]))
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "Intro?" not in out, "what was replied before is not asked again"
    assert re.search(r"Ada: You were \w+, civilian, and (reached|missed) your goal", out)
    assert (page := next(tmp_path.rglob("seat_*.html"))).read_text().startswith("<!DOCTYPE html>")
    assert page.name in out


# --- the notebook ------------------------------------------------------------------------------------


def press(seat, word="I know nothing."):
    """Fill in what the first form leaves open, and press its button."""
    form = seat._controls.children[0]
    rows = [w for row in form.children[:-1] for w in getattr(row, "children", [row])]
    for blank in rows:
        options = getattr(blank, "options", None)
        if options is None:
            blank.value = word
        else:
            last = options[-1]
            blank.value = last[1] if isinstance(last, tuple) else last
    form.children[-1].click()


@pytest.fixture
def table():
    return Table({"civilian": "Ada"}, against="skilled", rules=SHORT)


def test_a_seat_is_played_by_its_widgets(table):
    seat = sit(table)
    while not seat.sitting.is_over:
        press(seat)
    assert seat._controls.children == ()
    assert "was accused" in repr(seat.debrief()) or "Nobody" in repr(seat.debrief())


def test_what_is_left_open_is_asked_for(table):
    seat = sit(table)
    seat._controls.children[0].children[-1].click()
    assert "Please fill in: words" in seat._note.value
    assert seat.sitting.session.replies[seat.number] == []


def test_a_refused_reply_is_explained_in_the_note_and_can_be_given_again(table):
    seat = sit(table)
    press(seat)
    press(seat, word="?!")  # a question without a word
    assert seat._controls.children
    assert seat._note.value
    press(seat)


def test_an_opponent_that_fails_is_said_and_the_reply_is_kept():
    class Down:
        name = "down"
        is_up = False

        def act(self, requests):
            if not self.is_up:
                raise RuntimeError("the server does not answer.")
            return SKILLED.act(requests)

    down = Down()
    down.is_up = True
    table = Table({"civilian": "Ada"}, against=down, rules=SHORT)
    seat = sit(table)
    down.is_up = False
    press(seat)
    assert "the server does not answer" in seat._note.value
    down.is_up = True
    again = sit(table)
    assert len(again.sitting.session.replies[again.number]) == 1
    assert again.sitting.awaited == (again.number,)


def test_run_all_before_the_game_is_over_is_no_error(table):
    assert repr(sit(table).debrief()).startswith("The game is not over")


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "</div><img src=x onerror=alert(1)>"])
def test_hostile_words_do_nothing_in_the_chat(hostile):
    html = chat_of([Message("system", hostile), Message("user", hostile), Message("assistant", hostile)])
    assert "<script" not in html
    assert "<img" not in html


def test_what_only_this_player_knows_is_under_a_lock():
    book = phrasebook("en", "prose")
    secret = book.private.format(place="mill", text="A letter.")
    html = chat_of([Message("user", f"Ben asks Cal: Why?\n{secret}\nIt is your turn.")], book)
    assert html.count("only you know this") == 1
    assert html.index("Ben asks") < html.index("🔒") < html.index("A letter.") < html.index("It is your turn")


# --- after it ----------------------------------------------------------------------------------------


def test_the_debrief_tells_the_truth_the_credit_and_what_another_would_have_done(tmp_path):
    script = varied_scripts()["generated-compact"]
    sitting = sitting_of(tmp_path, script=script, seat=script.names[0])
    sitting.go_on()
    (seat,) = sitting.people
    sitting.played_by(SKILLED, seat)
    told = debrief(sitting, seat, others={"naive": NAIVE})
    assert f"It was {sitting.game.script.culprits[0]}" in repr(told)
    assert "naive would" in told.html
    assert "belief_" in told.html
    for text in instead(sitting, seat, NAIVE):
        assert text.split()[0] in told.html
