"""Studies: does it work, what transfers, how fast is it?

Parameters of a whole study come in; tables of contenders, seeds, items or seconds go out, resumable. Taught in
notebooks 07, 08 and 09.
"""

from typing import TYPE_CHECKING

from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.study.evidence import Study
    from maro_lib.study.habits import HABITS, resting_share
    from maro_lib.study.harness import Harness, Limits
    from maro_lib.study.trainbench import Bench, Size
    from maro_lib.study.transfer import adapters, contenders, evaluate

__getattr__, __dir__, __all__ = opened(__name__)
