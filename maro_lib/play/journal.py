"""Games under way, on disk: every reply so far, so that a run that was stopped asks for none of them again.

A game is its script, its seed and the replies, so replies are all that has to be kept. The file is rewritten as a
whole every so often, and when playing fails; a `kill -9` loses what was said since. A file that is damaged or of other
games is set aside, and its games are played from the start. Taught in notebook 02.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from maro_lib.play.policies import Reply
from maro_lib.play.shards import Wanted, content_digest, free_name
from maro_lib.runs import Unreadable, parse_record, write_atomic

SeatReplies = Sequence[Sequence[Reply]]


class Unfinished(NamedTuple):
    """unfinished.json: what is wanted of the games under way, what was said in each, by seat, and a digest of that."""

    wanted: Wanted
    digest: str
    replies: dict[int, list[list[Reply]]]


class Journal:
    """The unfinished games of one rollout."""

    def __init__(self, path: Path, seconds: float, wanted: Wanted):
        self.path, self.seconds, self.wanted = path, seconds, wanted
        self._under_way: Mapping[int, SeatReplies] = {}
        self._written = time.monotonic()

    def read(self) -> tuple[dict[int, list[list[Reply]]], str]:
        """Return what was said in each unfinished game (by its order), and a note if the file was damaged."""
        if not self.path.exists():
            return {}, ""
        try:
            unfinished = parse_record(self.path, Unfinished)
            if content_digest(_as_text(unfinished.replies)) != unfinished.digest:
                raise Unreadable("is damaged (not as it was written)")
            if not self.wanted.goes_on_from(unfinished.wanted):
                raise Unreadable("is of other games")
            return unfinished.replies, ""
        except Unreadable as error:
            aside = self.path.rename(free_name(self.path, "damaged"))
            return {}, f"{self.path.name} {error}: kept as {aside.name}, its games are played from the start"

    def watch(self, under_way: Mapping[int, SeatReplies]) -> None:
        """Take note of the games under way; write them down now and then."""
        self._under_way = under_way
        if time.monotonic() - self._written > self.seconds:
            self.write()

    def write(self) -> None:
        """Write down every reply of the games under way."""
        replies = {order: seats for order, seats in self._under_way.items() if any(seats)}
        text = _as_text(replies)
        about = {"wanted": self.wanted.of(replies)._asdict(), "digest": content_digest(text)}
        write_atomic(self.path, json.dumps(about).encode()[:-1] + b', "replies": ' + text + b"}")
        self._written = time.monotonic()

    def close(self) -> None:
        """All games are finished: nothing is left to go on with."""
        self.path.unlink(missing_ok=True)


def _as_text(replies: Mapping[int, SeatReplies]) -> bytes:
    """Write replies as JSON; half a character can't be said in a game, and is a question mark there as here."""
    return json.dumps(replies, ensure_ascii=False).encode("utf-8", "replace")
