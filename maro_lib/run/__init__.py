"""Running: the notebooks as one command, resumable.

A parameter file comes in; a run's folder goes out. `series` runs the notebooks in order, `doctor` says beforehand
whether a run will work, and `compare` puts runs side by side.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.run.compare import compare_runs
    from maro_lib.run.parameters import load_params
    from maro_lib.run.series import run_series
    from maro_lib.run.slices import Slices, play_slices
    from maro_lib.run.sweep_watch import watch_sweep

__getattr__, __dir__, __all__ = opened(__name__)
