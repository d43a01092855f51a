"""A model as the judge: any policy, here or on a server, with prompts of its own in English and Chinese.

Of what a character said and did in public, its script and the truth, it is asked for a score from 0 to 20, and for the
script's sections as they could be guessed. What can't be read, or is out of range, is asked for again, a bounded number
of times, and counted when it stays away. Judgements are kept on disk by their content (who judges, what is asked), so
that nothing is judged twice and a killed run goes on. MIRAGE asks without bound. Taught in notebook 06.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, model_validator

from maro_lib.measure.judgements import ABILITIES, ROLE_PLAY, SECTION, TOP, Case, Judge, Judgement, Status
from maro_lib.measure.rouge import rouge_l
from maro_lib.play.policies import Policy, Request
from maro_lib.play.shards import free_name
from maro_lib.progress import Bar
from maro_lib.runs import Unreadable, parse_text, write_atomic
from maro_lib.world.history import public_lines
from maro_lib.world.phrases import braces, phrasebook, read_words
from maro_lib.world.protocol import Message, Prompt
from maro_lib.world.replies import MAX_REPLY

QUESTIONS_AT_ONCE = 64  # per call of the policy
SCORED = (*ABILITIES, ROLE_PLAY)
_WORDS = Path(__file__).with_name("words")
BRACES = {"system": set(), "score": {"name", "script", "truth", "history", "ability"},
          "section": {"name", "history", "section"}}  # fmt: skip


class Wording(BaseModel):
    """A judge's prompts in one language; the sections are called as the game calls them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    system: str
    abilities: dict[str, str]
    score: str
    section: str

    @model_validator(mode="after")
    def _check(self) -> Wording:
        if [*self.abilities] != [*SCORED]:
            raise ValueError(f"abilities: {', '.join(self.abilities)} given; {', '.join(SCORED)} are needed")
        for name, needed in BRACES.items():
            if (given := set(braces(getattr(self, name)))) != needed:
                raise ValueError(f"{name}: the braces {sorted(given)} are given, and {sorted(needed)} are needed")
        return self


@cache
def wording(language: str) -> Wording:
    """Return a judge's prompts in one language."""
    return read_words(_WORDS / f"judge_{language}.yaml", Wording)


_SCORE = re.compile(r"SCORE\s*[:：]\s*(\d{1,3})(?![\d.])\s*+(?:/\s*+20\s*+)?(?:[.。]\s*+)?$", re.IGNORECASE)


def read_score(text: str) -> float | None:
    """Read the score on a reply's last line; None when it is not there, or not from 0 to 20."""
    lines = text.strip().splitlines()
    found = _SCORE.search(lines[-1]) if lines else None
    return float(found[1]) if found and int(found[1]) <= TOP else None


# --- a model as the judge ----------------------------------------------------------------------------


class Question(NamedTuple):
    """One thing that a judge is asked about a case."""

    kind: str
    section: str
    messages: tuple[Message, ...]
    read: Callable[[str], float | None]


@dataclass
class ModelJudge(Judge):
    """A policy as the judge. `cache` keeps its judgements; `retries` bounds how often one is asked for again."""

    policy: Policy
    cache: Cache = field(default_factory=lambda: Cache(None))
    retries: int = 2
    progress: bool = False
    draw: int = 0  # of its replies: asked anew it may say something else

    @property
    def name(self) -> str:
        return f"judge: {self.policy.name}"

    def again(self) -> ModelJudge:
        return replace(self, draw=self.draw + 1)

    def judge(self, cases: Sequence[Case]) -> list[list[Judgement]]:
        asked = [{self._key(q): q for q in _questions(case) if q.kind in case.kinds} for case in cases]
        open_ = {key: q for questions in asked for key, q in questions.items() if key not in self.cache}
        for tries in range(1, self.retries + 2):
            open_ = self._ask(open_, tries)
        return [[*map(self.cache.get, keys), *_empty(case)] for case, keys in zip(cases, asked, strict=True)]

    def _ask(self, questions: Mapping[str, Question], tries: int) -> dict[str, Question]:
        """Ask once; keep what could be read, and at last what could not; return what is to be asked again."""
        again, items = {}, list(questions.items())
        with Bar(len(items), "question", shown=self.progress) as bar:
            for k in range(0, len(items), QUESTIONS_AT_ONCE):  # their answers are on disk before more is asked
                batch = items[k : k + QUESTIONS_AT_ONCE]
                replies = self.policy.act([_request(key, q, tries) for key, q in batch])
                for (key, question), reply in zip(batch, replies, strict=True):
                    score = question.read(reply.text)
                    if score is None and tries <= self.retries:
                        again[key] = question
                        continue
                    status, score = (Status.FAILED, math.nan) if score is None else (Status.OK, score)
                    text = reply.text.encode("utf-8", "replace").decode()  # a file holds no half characters
                    self.cache.put(key, Judgement(question.kind, question.section, score, status, text, tries))
                bar.update(len(batch))
        return again

    def _key(self, question: Question) -> str:
        asked = [self.name, getattr(self.policy, "fingerprint", ""), [list(m) for m in question.messages], self.retries]
        asked += [self.draw] * (self.draw > 0)
        return hashlib.sha256(json.dumps(asked, ensure_ascii=False).encode()).hexdigest()


def _questions(case: Case) -> Iterator[Question]:
    script, me = case.script, case.character
    words, heading = wording(script.language), phrasebook(script.language, "prose").sections
    written = {name: text for name, text in case.sections.items() if text}
    about = {
        "name": me.name,
        "history": "\n".join(public_lines(case.actions, script)),
        "script": "\n".join(f"{heading[name]}: {text}" for name, text in written.items()),
        "truth": script.truth.text,
    }
    for kind in SCORED:
        yield Question(kind, "", _chat(words, words.score.format(**about, ability=words.abilities[kind])), read_score)
    for name, text in written.items():
        asked = words.section.format(**about, section=heading[name])
        yield Question(SECTION, name, _chat(words, asked), _reader(text, script.language))


def _chat(words: Wording, asked: str) -> tuple[Message, ...]:
    return Message("system", words.system), Message("user", asked)


def _reader(text: str, language: str) -> Callable[[str], float | None]:
    return lambda said: rouge_l(said[:MAX_REPLY], text, language) if said.strip() else None


def _request(key: str, question: Question, tries: int) -> Request:
    """Put a question as a policy is asked in a game; another try is another draw."""
    return Request(
        game=key, player=0, t=1, seed=int(key[:8], 16), salt=f"try {tries}", view=question.messages,
        prompt=Prompt("judge"), events=(), brief=None,
    )  # fmt: skip


def _empty(case: Case) -> Iterator[Judgement]:
    yield from (Judgement(SECTION, name, 0.0, Status.EMPTY) for name, text in case.sections.items() if not text)


# --- judgements on disk ------------------------------------------------------------------------------


LINE = tuple[str, str, str, float, str, str, int]  # a key, and the fields of a Judgement


class Cache:
    """Judgements by key, a line of JSON each, appended as they are made; without a path, in memory.

    A line that a kill has cut short is dropped, and judged again; with damaged lines the file is kept beside it.
    """

    def __init__(self, path: Path | None):
        self.path, self.judgements = path, {}
        if path and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        *lines, _ = path.read_bytes().split(b"\n")
        whole = []
        for line in lines:
            with contextlib.suppress(Unreadable):
                key, *values = parse_text(line, LINE)
                self.judgements[key] = Judgement(*values)
                whole.append(line + b"\n")
        if damaged := len(lines) - len(whole):
            aside = path.rename(free_name(path, "damaged"))
            print(f"{path.name} has {damaged} damaged lines: kept as {aside.name}, judged again", file=sys.stderr)
        write_atomic(path, b"".join(whole))

    def __contains__(self, key: str) -> bool:
        return key in self.judgements

    def get(self, key: str) -> Judgement:
        return self.judgements[key]

    def put(self, key: str, judgement: Judgement) -> None:
        self.judgements[key] = judgement
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(json.dumps([key, *judgement], ensure_ascii=False).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
