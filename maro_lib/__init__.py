"""MARO in notebooks: murder mysteries, played, credited, balanced, and learned from."""

import logging
import os
import warnings

__version__ = "0.1.0"

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin while they wait slow everybody down
warnings.filterwarnings("ignore", "IProgress not found")  # tqdm wants widgets; a fresh clone's notebooks show none
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # on import it misses a kernel that nobody needs
