"""Games under way, on disk: every reply so far, so that a run that was stopped asks for none of them again.

A game is its script, its seed and the replies, so replies are all that has to be kept. The file is rewritten as a
whole every so often, and when playing fails; a `kill -9` loses what was said since. Taught in notebook 02.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from maro_lib.play.policies import Reply
from maro_lib.runs import write_atomic

SeatReplies = Sequence[Sequence[Reply]]


class Journal:
    """The unfinished games of one rollout."""

    def __init__(self, path: Path, seconds: float):
        self.path, self.seconds = path, seconds
        self._under_way: Mapping[int, SeatReplies] = {}
        self._written = time.monotonic()

    def read(self) -> tuple[dict[int, list[list[Reply]]], str]:
        """Return what was said in each unfinished game (by its order), and a note if the file was damaged."""
        if not self.path.exists():
            return {}, ""
        try:
            games = json.loads(self.path.read_bytes())
            return {int(order): [[_reply(r) for r in seat] for seat in seats] for order, seats in games.items()}, ""
        except (ValueError, TypeError, AttributeError):
            aside = self.path.replace(self.path.with_name("unfinished.damaged.json"))
            return {}, f"{self.path.name} is damaged: kept as {aside.name}, its games are played from the start"

    def watch(self, under_way: Mapping[int, SeatReplies]) -> None:
        """Take note of the games under way; write them down now and then."""
        self._under_way = under_way
        if time.monotonic() - self._written > self.seconds:
            self.write()

    def write(self) -> None:
        """Write down every reply of the games under way."""
        games = {str(order): replies for order, replies in self._under_way.items() if any(replies)}
        write_atomic(self.path, json.dumps(games, ensure_ascii=True))
        self._written = time.monotonic()

    def close(self) -> None:
        """All games are finished: nothing is left to go on with."""
        self.path.unlink(missing_ok=True)


def _reply(values: Sequence) -> Reply:
    text, token_ids, logps, seen_ids, opens = values
    ids = None if token_ids is None else tuple(token_ids)
    return Reply(text, ids, None if logps is None else tuple(logps), tuple(seen_ids), bool(opens))
