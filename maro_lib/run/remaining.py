"""How long what is left of a sweep takes, from the stages that ended. Used by `maro_lib.run.sweep` and its watch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean

from maro_lib.run.sweep_record import STAGE_ENDED, SweepRecord, stages_of
from maro_lib.wording import duration


def seconds_left(sweep: str, record: SweepRecord, spent: Mapping[str, float] | None = None) -> float | None:
    """Return how long what has not ended takes: what its stages took elsewhere; None: one of them never ended.

    `spent`: seconds of the stage that a branch is at.
    """
    took: dict[str, list[float]] = defaultdict(list)
    missing: dict[str, list[str]] = {}
    for work in record.work:
        ended = {name: stage.seconds for name, stage in stages_of(sweep, work).items() if stage.status in STAGE_ENDED}
        for name, seconds in ended.items():
            took[name].append(seconds)
        if work.error is None:
            missing[work.name] = [name for name in work.stages if name not in ended]
    if any(name not in took for names in missing.values() for name in names):
        return None
    alone = [sum(fmean(took[n]) for n in names) - (spent or {}).get(work, 0.0) for work, names in missing.items()]
    return sum(max(0.0, seconds) for seconds in alone) / max(1, min(record.at_a_time, len(missing)))


def left_in_words(seconds: float | None) -> list[str]:
    """Say how long that is, if it is known and anything is left."""
    return [f"about {duration(seconds)} left"] if seconds else []
