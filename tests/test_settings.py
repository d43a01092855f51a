from dataclasses import dataclass, field

import pytest

from maro_lib.settings import filled


@dataclass(frozen=True)
class Knobs:
    beta: float = 1.0
    anchor: float = 0.02
    order: int = field(default=7, init=False)


def test_fields_take_the_parameters_of_their_name_and_what_is_derived_comes_first():
    notebook = {"beta": 0.5, "order": 1, "run": "cpu"}
    assert filled(Knobs, notebook) == Knobs(beta=0.5)
    assert filled(Knobs, notebook, beta=3.0) == Knobs(beta=3.0)


def test_what_is_no_field_is_an_error():
    with pytest.raises(TypeError, match="betta"):
        filled(Knobs, {}, betta=1.0)
