"""How long what is left of a sweep takes, from the stages that ended. Used by `maro_lib.run.sweep`."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from maro_lib.run.prefixes import Branch
from maro_lib.run.sweep_file import Sweep
from maro_lib.runs import round_name
from maro_lib.summary import peek_summary
from maro_lib.wording import duration


class Remaining:
    """What ended of a sweep, and what did not."""

    def __init__(self, sweep: Sweep, at_a_time: int):
        self.sweep, self.at_a_time = sweep, at_a_time
        self.left = {branch.name: branch for branch in sweep.branches}
        self.seconds: dict[str, list[float]] = defaultdict(list)  # of each stage, as often as it ended

    def after(self, ended: Branch) -> list[str]:
        """Take note of a branch that ended; say how long the others take, if that is known."""
        del self.left[ended.name]
        self._note(ended)
        missing = [number for branch in self.left.values() for number in branch.own]
        if not missing or any(number not in self.seconds for number in missing):
            return []
        total = sum(fmean(self.seconds[number]) for number in missing)
        return [f"about {duration(total / min(self.at_a_time, len(self.left)))} left"]

    def _note(self, branch: Branch) -> None:
        series = self.sweep.series(branch)
        for step in series.steps:
            record = peek_summary(round_name(series.run, step.round)).stages.get(step.notebook.stem)
            if step.number in branch.own and record and record.status in ("ran", "skipped"):
                self.seconds[step.number].append(record.seconds)
