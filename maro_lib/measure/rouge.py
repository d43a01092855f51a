"""Rouge-L: the longest common subsequence of words, as an F-measure; Chinese is cut into words first.

The scores are those of the `rouge-score` package, the words of Chinese those of jieba. Used in notebook 06.
"""

from __future__ import annotations

import re
from functools import cache

_WORD = re.compile(r"\w+", re.UNICODE)


def words(text: str, language: str) -> list[str]:
    """Cut a text into lower-case words, without punctuation."""
    if language == "zh":
        import jieba

        jieba.setLogLevel("ERROR")
        return [w for w in jieba.lcut(text.lower()) if _WORD.search(w)]
    return _WORD.findall(text.lower())


def rouge_l(said: str, reference: str, language: str = "en") -> float:
    """Return Rouge-L's F of a text against a reference, 0 to 1."""
    return _scorer(language).score(reference, said)["rougeL"].fmeasure


class _Words:
    """What rouge-score calls a tokenizer."""

    def __init__(self, language: str):
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return words(text, self.language)


@cache
def _scorer(language: str):
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Words(language))
