"""What an exercise's check and an expectation's verdict say."""

import pytest

from maro_lib.exercises import check, expect


def test_an_expectation_that_does_not_hold_is_told_and_never_stops(capsys):
    expect("the lazy learner is blind", True, "51 %")
    expect("the lazy learner is blind", False, "67 %")
    expect("games alone equal games in a batch", False)
    assert capsys.readouterr().out.splitlines() == [
        "as expected: the lazy learner is blind (came: 51 %)",
        "NOT as expected: the lazy learner is blind (came: 67 %)",
        "NOT as expected: games alone equal games in a batch",
    ]


def test_a_wrong_answer_is_refused_and_none_is_not_attempted(capsys):
    check(None, 2)
    check(2, 2, "law")
    with pytest.raises(AssertionError, match=r"3 is not it\. law"):
        check(3, 2, "law")
    assert capsys.readouterr().out.splitlines() == ["not attempted", "right. law"]
