"""Numbers in words: zero has no sign, no p is zero, and no line breaks within a word."""

import numpy as np
import pandas as pd
import pytest

from maro_lib.statistics import Mean, Points, Rate
from maro_lib.wording import as_text, p_value, signed, wrapped


@pytest.mark.parametrize(
    ("x", "digits", "said"),
    [(-0.04, 1, "0.0"), (0.04, 1, "0.0"), (-0.4, 0, "0"), (-0.05001, 1, "-0.1"), (1.26, 1, "+1.3"), (-0.0, 0, "0")],
)
def test_what_rounds_to_zero_has_no_sign(x, digits, said):
    assert signed(x, digits) == said


def test_intervals_have_no_signed_zero():
    assert str(Mean(-0.004, -0.1, 0.004, 9)) == "0.00 [-0.10, 0.00] (n = 9)"
    assert str(Points(0.0002, -0.01, -0.0002, 9)) == "0.0 points [-1.0, 0.0] (n = 9)"
    assert str(Rate(-1e-9, 0.0, 0.1, 9)) == "0.0 % [0.0, 10.0] (n = 9)"


@pytest.mark.parametrize(("p", "said"), [(0.0, "< 0.001"), (0.00099, "< 0.001"), (0.001, "0.001"), (1.0, "1.000")])
def test_no_p_is_zero(p, said):
    assert p_value(p) == said


def test_a_table_has_so_many_places_no_signed_zero_and_nothing_where_nothing_is_known():
    table = pd.DataFrame({"arm": ["a", "b"], "n": [5, 40], "change": [-0.001, np.nan], "p": [1e-6, np.nan]})
    head, first, second = (line.split() for line in as_text(table, 2, p=["p"]).splitlines())
    assert (head, first, second) == (["arm", "n", "change", "p"], ["a", "5", "0.00", "<", "0.001"], ["b", "40"])
    assert table["p"].iloc[0] == 1e-6, "the table itself stays"


def test_long_lines_break_between_words_and_short_ones_stay():
    text = "one two three four\nfive  six"
    assert wrapped(text, width=9, indent="  ") == "one two\n  three\n  four\nfive  six"
    assert wrapped("self-contradicting", width=6) == "self-contradicting", "no word is cut"
