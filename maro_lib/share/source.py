"""What is exported: a run, and where in it lies what a part is made of.

Of a run of several rounds it is the last one's games, training set and adapter.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from maro_lib.runs import (
    ROUND,
    RunError,
    maker,
    needs,
    portable,
    read_headline,
    remaking,
    round_name,
    run_folder,
    shown,
)
from maro_lib.summary import Summary
from maro_lib.wording import first_line


class Source(NamedTuple):
    """A run that is exported, into a folder."""

    run: str
    n_rounds: int
    summary: Summary
    into: Path
    merging: bool = False  # also where the run has no merged weights

    def of(self, name: str) -> str:
        """Return the run or round whose artefact of that name is meant."""
        notebook = name if name[:2].isdigit() else maker(name)
        return round_name(self.run, self.n_rounds) if notebook in ROUND else self.run

    def path(self, name: str) -> Path:
        """Return where an artefact would lie."""
        return run_folder(self.of(name)) / name

    def at(self, name: str) -> Path:
        """Return where an artefact lies, whole; raise `MissingInput` where it is not."""
        return needs(self.of(name), name)

    def table(self, name: str) -> pd.DataFrame:
        """Read an artefact that is one table."""
        path = self.at(name)
        try:
            return pd.read_parquet(path)
        except (OSError, pa.ArrowException) as error:
            raise RunError(f"{shown(path)}: is damaged ({first_line(error)}); {remaking(path)}") from None

    def headline(self, notebook: str) -> dict[str, Any]:
        return read_headline(self.of(notebook), notebook)

    @property
    def title(self) -> str:
        """What a card calls the run."""
        of_rounds = f", round {self.n_rounds} of {self.n_rounds}" if self.n_rounds > 1 else ""
        return f"{self.run}{of_rounds}"

    @property
    def model(self) -> str:
        """The model that played and learned."""
        return self.summary.parameters.get("model", "embedded")

    def parameter(self, name: str) -> Any:
        """Return a parameter of the run, of a model or adapter its portable name; nothing if it is not known."""
        value = self.summary.parameters.get(name)
        return portable(value) if isinstance(value, str) else value


def portable_player(name: str) -> str:
    """Return the name of a player without places of this machine: `/data/ada/qwen(nf4,T=1)` is `qwen(nf4,T=1)`."""
    return re.sub(r"(^|(?<=\+))/[^(+]+", lambda found: portable(found[0]), name)
