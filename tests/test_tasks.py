"""Small tasks: right answers pass, wrong ones don't, and nothing that is scored was ever a lesson."""

import random

import pytest

from maro_lib.embedded.tasks import TASKS, Item, draw_item, is_held_out, is_right, items


def test_every_answer_to_learn_from_is_right():
    rng = random.Random(0)
    assert all(is_right(i, i.answer) for i in (draw_item(rng) for _ in range(3000)))


@pytest.mark.parametrize("task", TASKS)
def test_every_answer_to_a_scored_item_is_right(task):
    assert all(is_right(i, i.answer) for i in items(task, 500, 1, held_out=True))


def test_two_demands_at_once_are_scored_but_never_taught():
    rng = random.Random(2)
    assert {i.level for i in items("instructions", 300, 0, held_out=True)} == {1, 2, 3}
    assert not any(i.level == 3 for i in (draw_item(rng) for _ in range(2000)))


@pytest.mark.parametrize("task", TASKS)
def test_lessons_and_scored_items_are_apart(task):
    scored = {i.prompt for i in items(task, 200, 0, held_out=True)}
    learned = {i.prompt for i in items(task, 1000, 0, held_out=False)}
    assert len(scored) == 200
    assert not scored & learned
    rng = random.Random(1)
    assert not any(is_held_out(draw_item(rng)) for _ in range(2000))


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_items(task):
    assert items(task, 20, 3, held_out=True) == items(task, 20, 3, held_out=True)
    assert items(task, 20, 3, held_out=True) != items(task, 20, 4, held_out=True)


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("is 12", ["12", "12.", " 12!"], ["1", "112", "12 13", "", "twelve"]),
        ("is mill", ["The mill.", "mill", "THE MILL"], ["The pond.", "at the mill", "The mill mill."]),
        ("words 3", ["At the pond.", "a b c"], ["At pond.", "At the old pond.", ""]),
        ("ends gold", ["At the pond gold.", "pond GOLD"], ["gold", "gold pond", "At the pond golden."]),
        ("begins rain", ["Rain at the pond.", "rain pond"], ["rain", "At the rain.", "Rainy pond."]),
        ("begins rain; ends sun", ["Rain at the pond sun."], ["Rain at the pond.", "At the pond sun.", "rain"]),
        ("ends sun; words 3", ["The pond sun."], ["At the pond sun.", "At the pond."]),
        ("names 2", ["Jim Tom.", "tom, jim"], ["Jim", "Jim Jim", "Jim Bob", "Jim Tom Ann"]),
    ],
)
def test_checks_are_forgiving_about_form_alone(check, right, wrong):
    item = Item("any", 1, "", "", check)
    assert all(is_right(item, r) for r in right)
    assert not any(is_right(item, w) for w in wrong)


def test_worked_examples():
    arithmetic = items("arithmetic", 300, 0, held_out=True)
    for item in arithmetic:
        who, numbers = item.prompt.split()[0], [int(w) for w in item.prompt.split() if w.isdigit()]
        total = numbers[0]
        for sentence, n in zip(item.prompt.split(". ")[1:], numbers[1:], strict=False):
            total += -n if sentence.startswith(who) else n
        assert item.answer == str(total)
        assert 0 < total <= 9
    assert {i.level for i in arithmetic} == {1, 2}


def test_too_many_items_are_refused():
    with pytest.raises(ValueError, match="ask for fewer"):
        items("instructions", 10**5, 0, held_out=True)
