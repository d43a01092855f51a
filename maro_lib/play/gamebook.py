"""Which games a run plays: mysteries, rules and seeds, kept with the run so that later notebooks play the same kind.

Held-out games have other seeds and, where four scripts or more are given or mysteries are generated, other mysteries.
Taught in notebook 02.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from maro_lib.play.rollout import Game, schedule
from maro_lib.runs import read_record, write_atomic
from maro_lib.world.casebook import find_playable
from maro_lib.world.generator import Knobs, generate_many
from maro_lib.world.mystery import Rules
from maro_lib.world.scripts import Script

HELD_OUT = 500_000  # added to a run's seed


@dataclass(frozen=True)
class Gamebook:
    """What decides a run's games."""

    seed: int = 0
    n_scripts: int = 30
    script: str = ""  # a file, a folder, a bundled case or a MIRAGE checkout; empty: generated ones
    knobs: Knobs = field(default_factory=Knobs)
    rules: Rules = field(default_factory=Rules)

    def scripts(self) -> list[Script]:
        """The mysteries of the run's games; of given ones every fourth is held out."""
        if not self.script:
            return generate_many(self.n_scripts, self.seed, self.knobs)
        return [s for k, s in enumerate(find_playable(self.script)) if k % 4 != 3]

    def games(self, n: int) -> list[Game]:
        """The run's games, over its mysteries in turn."""
        return schedule(self.scripts(), n, self.seed, self.rules)

    def held_out(self, n: int, n_scripts: int) -> list[Game]:
        """Games that the run does not play; fewer than four given scripts are played again, with other seeds."""
        seed = self.seed + HELD_OUT
        if not self.script:
            return schedule(generate_many(n_scripts, seed, self.knobs), n, seed, self.rules)
        given = find_playable(self.script)
        return schedule(given[3::4][:n_scripts] or given, n, seed, self.rules)

    def save(self, path: Path) -> None:
        write_atomic(path, json.dumps(asdict(self), indent=1) + "\n")


def load_gamebook(path: Path) -> Gamebook:
    return read_record(path, Gamebook)
