"""Stories in which somebody misses a change, or sees it: does a model tell what a person knows from what is so?

Somebody sees where a thing is put; then it is moved. Three questions are asked of each story, with the same options:

    false belief   the person was away when it was moved: where will they look? where it was before
    true belief    the person saw it: where will they look? where it is now
    fact           the person was away: where is it? where it is now

A reply is the likelier option. Who always takes the first place is right in the first only, who always takes the last
in the other two: so what counts is being right in both about beliefs (`transfer.beliefs`), for which a coin has a
quarter. In prose, for real models; the embedded one has not read such words. Taught in notebook 07.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from maro_lib.study.scenes import STORIES
from maro_lib.world.phrases import CheckedWords, read_words, sentence

FALSE, TRUE, FACT = "false belief", "true belief", "fact"
CHANGE_SLOTS = "who other before after"


@dataclass(frozen=True)
class Belief:
    """One question as an item of the harness."""

    scene: str  # shared by the three questions about a story
    level: str  # false belief, true belief, or fact
    prompt: str
    options: list[str]
    answer: int  # which of them is right


class Change(CheckedWords):
    """The sentences of one story, and the values between which things change in it."""

    start: str = sentence(CHANGE_SLOTS)
    away: str = sentence(CHANGE_SLOTS)
    there: str = sentence(CHANGE_SLOTS)
    change: str = sentence(CHANGE_SLOTS)
    belief: str = sentence(CHANGE_SLOTS)
    fact: str = sentence(CHANGE_SLOTS)
    values: tuple[str, ...] = Field(min_length=2)


class BeliefWords(CheckedWords):
    """The form of a question, and the stories."""

    form: str = sentence("story question")
    stories: tuple[Change, ...]


BELIEF_WORDS = read_words(Path(__file__).with_name("words") / "beliefs.yaml", BeliefWords)


def belief_items(n: int, seed: int) -> list[Belief]:
    """Draw `n` questions, the three of a story side by side; every story is told once before any is told again."""
    rng, stories, drawn, seen = random.Random(f"beliefs/{seed}"), [], [], set()
    while len(drawn) < n:
        stories = stories or rng.sample(BELIEF_WORDS.stories, len(BELIEF_WORDS.stories))
        asked = list(_questions(rng, stories.pop(), len(drawn) // 3))
        if asked[0].prompt not in seen:
            seen.add(asked[0].prompt)
            drawn += asked
    return drawn[:n]


def _questions(rng: random.Random, story: Change, number: int) -> Iterator[Belief]:
    (who, other), values = rng.sample(STORIES.prose.names, 2), rng.sample(story.values, 2)
    given = {"who": who, "other": other, "before": values[0], "after": values[1]}
    options = rng.sample(values, 2)
    for level, witness, question, right in (
        (FALSE, story.away, story.belief, values[0]),
        (TRUE, story.there, story.belief, values[1]),
        (FACT, story.away, story.fact, values[1]),
    ):
        told = " ".join((story.start, witness, story.change)).format(**given)
        prompt = BELIEF_WORDS.form.format(story=told, question=question.format(**given))
        yield Belief(f"beliefs {number}", level, prompt, options, options.index(right))
