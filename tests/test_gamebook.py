"""Laws of the gamebook: what a run plays is kept, and held-out games are others."""

import json
from dataclasses import asdict

import pytest

from maro_lib.play.gamebook import Gamebook, load_gamebook
from maro_lib.runs import RunError
from maro_lib.world.casebook import bundled, find_case
from maro_lib.world.generator import Knobs
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import ScriptError

BOOK = Gamebook(seed=3, n_scripts=4, knobs=Knobs(characters=5, red_herrings=2), rules=Rules(rounds=2))


def test_gamebook_survives_its_file(tmp_path):
    BOOK.save(tmp_path / "gamebook.json")
    assert load_gamebook(tmp_path / "gamebook.json") == BOOK


@pytest.mark.parametrize(("text", "what"), [
    ("{", "Invalid JSON: EOF"), ("[" * 10_000, "Invalid JSON: recursion limit"), ("[]", ""),
    (json.dumps(asdict(BOOK) | {"seed": "3"}), "seed: "), (json.dumps(asdict(BOOK) | {"sead": 3}), "sead: "),
    (json.dumps(asdict(BOOK) | {"rules": {"rounds": True}}), "rules.rounds: "),
    (json.dumps({"knobs": {"a\nb": 1}}), r"knobs.a\\nb: "),
])  # fmt: skip
def test_a_gamebook_that_holds_something_else_names_what_and_who_mends_it(tmp_path, monkeypatch, text, what):
    monkeypatch.setenv("MARO_OUTPUTS", str(tmp_path / "outputs"))
    path = tmp_path / "outputs" / "cpu" / "gamebook.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(RunError, match=rf"^outputs/cpu/gamebook.json: is damaged \({what}") as error:
        load_gamebook(path)
    assert "make run ONLY=02 PARAMS=params/cpu.yaml" in str(error.value)
    assert "\n" not in str(error.value)


def test_held_out_games_share_no_mystery_and_no_seed_with_the_run():
    own, other = BOOK.games(8), BOOK.held_out(8, 4)
    assert not {g.script.title for g in own} & {g.script.title for g in other}
    assert not {g.script.digest for g in own} & {g.script.digest for g in other}
    assert not {g.seed for g in own} & {g.seed for g in other}
    assert {g.rules for g in own} == {g.rules for g in other} == {BOOK.rules}


def test_a_given_script_is_held_out_by_other_seeds_only():
    book = Gamebook(seed=3, script=sorted(bundled())[0])
    own, other = book.games(4), book.held_out(4, 99)
    assert {g.script.digest for g in own} == {g.script.digest for g in other}
    assert not {g.seed for g in own} & {g.seed for g in other}


def test_of_enough_given_scripts_every_fourth_is_held_out():
    book = Gamebook(seed=3, script="maro_lib/world/cases")
    own, other = ({g.script.title for g in games} for games in (book.games(8), book.held_out(8, 99)))
    assert len(own) == 3
    assert len(other) == 1
    assert not own & other


def test_an_unknown_case_is_answered_with_those_that_there_are():
    assert find_case("quiet_hours").title
    with pytest.raises(ScriptError, match=r"'stroke' is no bundled case; there are .*stroke_before_quarter"):
        find_case("stroke")
