"""What others have published, to stand beside a run's own figures; never measured here.

Sources: MIRAGE's leaderboard (arXiv 2501.01652, percent, one run per script, its own scripts and judge), and the paper
(arXiv 2601.12323). Other scripts, another judge, larger models: the same names, not the same measurements.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from maro_lib.measure.judgements import Status
from maro_lib.measure.metrics import JUDGED

LEADERBOARD = {
    "GPT-4o": {"Victory": 47.01, "TII": 78.69, "CIC": 35.92, "ICI": 76.80, "SCI": 51.29},
    "Qwen-2-7B": {"Victory": 51.81, "TII": 75.78, "CIC": 18.66, "ICI": 74.92, "SCI": 50.57},
}
PAPER = {
    "interaction, persona, trust, investigation": "+2.1 to +6.1 %",
    "MATH-500, GSM8K": "+2.5 to +3.3 points",
    "transfer after complex scripts (MUC)": "more than after simple ones (SOO), most on medium problems",
}


def leaderboard() -> pd.DataFrame:
    """MIRAGE's published figures, marked as such."""
    return pd.DataFrame(LEADERBOARD).T.rename(lambda name: f"published: {name}")


def beside(ours: Mapping[str, pd.Series]) -> pd.DataFrame:
    """A run's own figures (see `metrics.overall`) above the leaderboard's; what no judge could score says so."""
    table = pd.concat([pd.DataFrame(ours).T, leaderboard()]).round(1).astype(object)
    return table.fillna(dict.fromkeys(JUDGED, Status.NOT_JUDGED.value))
