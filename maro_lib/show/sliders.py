"""Sliders over a picture, where somebody sits at the notebook; a static page, papermill and nbval do without them.

    slide(pulled, beta=(0.1, 5.0, 1.0), rule=["uniform", "terminal"])    least, most, at first; or one of some choices

Whoever sits there can be asked (their frontend says so with each cell), and sees the picture for every value. Elsewhere
the cell leaves one line, always the same, and the pictures above it remain the truth. Fits notebooks 03 and 05.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

NOBODY_THERE = "Sliders appear here when the cell is run in JupyterLab."
STEPS = 50  # from the least value to the most

Control = tuple[float, float, float] | Sequence[str]


def slide(draw: Callable[..., Any], **controls: Control) -> None:
    """Show a control for each argument of `draw`, and below them what it draws; where nobody sits, one line."""
    if not is_attended():
        print(NOBODY_THERE)
        return
    from IPython.display import display

    made = {name: _control(name, given) for name, given in controls.items()}
    display(widgets.VBox([*made.values(), widgets.interactive_output(draw, made)]))


def is_attended() -> bool:
    """Whether somebody is there who could be asked: not while papermill, nbconvert or nbval runs a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return bool(getattr(getattr(shell, "kernel", None), "_allow_stdin", False))


def _control(name: str, given: Control) -> Any:
    """Make a slider, or a list of choices."""
    if not isinstance(given, tuple):
        return widgets.Dropdown(options=list(given), description=name)
    low, high, value = given
    if not low <= value <= high:
        raise ValueError(f"{name}: {value} at first is not between {low} and {high}")
    return widgets.FloatSlider(value, min=low, max=high, step=(high - low) / STEPS, description=name)
