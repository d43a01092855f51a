"""Studies: does it work, what transfers, how fast is it?

Parameters of a whole study come in; tables of contenders, seeds, items or seconds go out, resumable. Each study is a
module, which its notebook names: `transfer` in 07, `evidence` in 08 and 10 (what methods gained over seeds, from the
games of sweeps), `trainbench` in 09, `rounds` in 12.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.study.beliefs import belief_items
    from maro_lib.study.evaldata import write_items
    from maro_lib.study.habits import HABITS, force, resting_share
    from maro_lib.study.harness import Harness, Limits
    from maro_lib.study.scenes import GOAL, NO_GOAL, truthfulness
    from maro_lib.study.trainbench import Bench, Size

__getattr__, __dir__, __all__ = opened(__name__)
