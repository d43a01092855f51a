"""MARO in notebooks: murder mysteries, played, credited, balanced, and learned from.

The root offers what every notebook needs, whatever its room: where a run's files lie, exercises, intervals, and how
numbers are said.
"""

import logging
import os
import sys
import warnings
from typing import TYPE_CHECKING

from maro_lib.progress import plain_bars
from maro_lib.rooms import opened

if TYPE_CHECKING:
    from maro_lib.exercises import check, expect
    from maro_lib.runs import (
        artefact,
        finish,
        imitates,
        located,
        make_folder,
        needs,
        opposing,
        read_headline,
        round_name,
        shown,
        write_atomic,
    )
    from maro_lib.settings import filled
    from maro_lib.statistics import bootstrap_mean, detectable, holm, mcnemar, paired_rates, win_rate
    from maro_lib.wording import as_text, p_value, signed, wrapped

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = opened(__name__)

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait slow everybody down
warnings.filterwarnings("ignore", "IProgress not found")  # what tqdm says of `plain_bars`
if "ipykernel" in sys.modules:
    plain_bars()
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on import it misses a kernel that nobody needs
