"""How far a long call is: under its cell in a notebook, else as a line on stderr; gone when the call ends.

A bar that is printed would be stored with the notebook, and no second run prints the same. So in a notebook it is one
output that changes in place, empty at the beginning and at the end: Jupyter shows it, nbval and `git diff` see nothing.
Where `make run` runs a notebook in a terminal (`WATCHED`), nobody looks at the notebook, and the line goes there.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from tqdm import tqdm

FORMAT = "{l_bar}{bar}| {n:.0f}/{total_fmt} {unit}s [{elapsed}<{remaining}{postfix}]"
WATCHED = "MARO_WATCHED"  # set for a notebook whose stderr is streamed into a terminal


def in_view() -> bool:
    """Is this a notebook that somebody may be looking at?"""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return hasattr(shell, "kernel") and not os.environ.get(WATCHED)


def plain_bars() -> None:
    """Keep other libraries' bars from becoming widgets, each of which would be stored with the notebook."""
    import tqdm.notebook as widgets

    widgets.IProgress = None  # as where ipywidgets is not installed


class Place:
    """A place under the running cell, for whatever is shown there now."""

    def __init__(self):
        from IPython.display import display

        self.handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, what: Any) -> None:
        """Show a line of text, or what a notebook knows how to draw."""
        if isinstance(what, str):
            self.handle.update({"text/plain": what}, raw=True)
        else:
            self.handle.update(what)


class Bar(tqdm):
    """A tqdm bar at the place where it is seen, and that leaves nothing behind."""

    def __init__(self, total: int | None, unit: str, *, shown: bool, **options: Any):
        self.place = Place() if shown and in_view() else None
        options = {"leave": False, "mininterval": 0.5, "miniters": 1, "bar_format": FORMAT} | options
        super().__init__(total=total, unit=unit, disable=not shown, gui=self.place is not None, **options)
        if self.place:
            self.refresh()

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, or `msg` in its place; tqdm calls this."""
        if not self.place:
            return super().display(msg, pos)
        self.place.show(str(self) if msg is None else msg)
        return True

    def reach(self, n: float, note: str = "") -> None:
        """Move to n, parts of one included, and say what goes on; drawn as seldom as the bar itself."""
        if self.disable:
            return
        self.n = n
        self.set_postfix_str(note, refresh=False)
        if time.time() - self.last_print_t >= self.mininterval:
            self.last_print_t = time.time()
            self.refresh()

    def close(self) -> None:
        """Take the bar away."""
        was_shown = not self.disable
        super().close()
        if self.place and was_shown:
            self.place.show("")
