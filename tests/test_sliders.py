"""Sliders: for whoever sits at the notebook, and one line for everybody else."""

import pytest

from maro_lib.show.sliders import NOBODY_THERE, STEPS, _control, slide


def test_where_nobody_sits_a_cell_leaves_one_line_and_draws_nothing(capsys):
    slide(pytest.fail, beta=(0.1, 5.0, 1.0), rule=["uniform", "terminal"])
    assert capsys.readouterr().out == f"{NOBODY_THERE}\n"


def test_a_control_begins_where_it_should():
    slider = _control("beta", (0.0, 5.0, 1.0))
    assert (slider.min, slider.max, slider.value, slider.step) == (0.0, 5.0, 1.0, 5.0 / STEPS)
    assert _control("rule", ["uniform", "terminal"]).options == ("uniform", "terminal")


def test_a_control_that_begins_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"beta: 9 at first is not between 0\.1 and 5\.0"):
        _control("beta", (0.1, 5.0, 9))
