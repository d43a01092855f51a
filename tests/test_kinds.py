"""Other kinds of mystery: what they are, what is refused, and matches in them."""

from dataclasses import replace

import pytest

from maro_lib.embedded.lessons import HOME
from maro_lib.measure.kinds import kind_problems, other_books
from maro_lib.play.gamebook import Gamebook
from maro_lib.run.parameters import Parameter, problems_of
from maro_lib.run.quick import quick_problems
from maro_lib.world.mystery import Rules

KINDS = {"SOC": {}, "MUC": {"stages": 2, "special_rules": 1}}


def test_a_kind_changes_the_default_mysteries_and_nothing_else_of_a_run():
    own = Gamebook(seed=3, knobs=replace(HOME, stages=2, special_rules=1), rules=Rules(rounds=2))
    assert other_books(own, KINDS) == {"SOC": replace(own, knobs=HOME)}, "not its own kind"
    assert other_books(replace(own, knobs=HOME), KINDS) == {"MUC": own}
    prose = replace(own, knobs=replace(HOME, register="prose"))
    assert other_books(prose, KINDS)["MUC"].knobs.register == "prose", "words are the run's"
    given = replace(own, knobs=HOME, script="a folder")
    assert [*other_books(given, KINDS)] == [*KINDS], "given scripts are of no kind"
    assert {game.script.cell for game in other_books(given, KINDS)["MUC"].held_out(2, 2)} == {"MUC"}


@pytest.mark.parametrize(
    ("kinds", "problem"),
    [
        ({"MUC": {"stage": 2}}, "elsewhere: MUC: unknown trait `stage`; did you mean 'stages'"),
        ({"MUC": {"rounds": 3}}, "elsewhere: MUC: unknown trait `rounds`; there are stages, special_rules"),
        ({"MUC": {"stages": "2"}}, "elsewhere: MUC: stages: '2'; take a whole number"),
        ({"MUC": {"stages": 5}}, "elsewhere: MUC: stages: 5 is too many; take 4 or fewer"),
        ({"MUC": {"culprits": 3}}, "elsewhere: MUC: culprits: 3 is too many; take 2 or fewer, or more characters"),
        ({"MUC": {1: 2}}, "elsewhere: MUC: unknown trait `1`; there are stages"),
        ({"../MUC": {}}, "elsewhere: '../MUC' can't name a folder"),
    ],
)
def test_a_kind_that_cannot_be_is_refused_before_anything_runs(kinds, problem):
    [found] = quick_problems({"elsewhere": kinds})
    assert found.startswith(problem)


def test_kinds_that_can_be_are_not_refused():
    assert not [*kind_problems(KINDS | {"7 players": {"characters": 7}})]


@pytest.mark.parametrize("value", [{"MUC": 2}, ["MUC"], {2: {}}])
def test_what_is_no_mapping_of_mappings_is_refused(value):
    known = {"elsewhere": Parameter("dict[str, dict]", {}, ("05",))}
    assert not problems_of("x.yaml", {"elsewhere": KINDS}, known)
    [problem] = problems_of("x.yaml", {"elsewhere": value}, known)
    assert "`elsewhere` must be dict[str, dict]" in problem
