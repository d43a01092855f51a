"""Showing: what a person looks at.

Tables come in; figures, a game to read and a run's report go out. All text of models is escaped. Used by every
notebook.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.show.casefile import show_script
    from maro_lib.show.figures import BLUE, GREY, ORANGE, STYLE, finding
    from maro_lib.show.report import write_report
    from maro_lib.show.seat import sit
    from maro_lib.show.sliders import slide
    from maro_lib.show.strip import plot_strip
    from maro_lib.show.table import Table
    from maro_lib.show.transcript import show_game, show_view, side_by_side
    from maro_lib.show.watch import watch_run, write_watch

__getattr__, __dir__, __all__ = opened(__name__)
