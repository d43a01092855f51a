"""Keys that must reach no file: which texts look like one, and which variables of the environment hold one.

A run keeps its parameters in its notebooks and its summary, so that a parameter that holds a key is refused; the way
out is a variable of the environment, by name. Used by `maro_lib.run.parameters`, and where a player is made.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

MAX_CHARACTERS = 20_000  # characters of a parameter
_WORD = "key|token|secret|passw(?:or)?d|credentials?"
_NAME = re.compile(
    rf"[\w-]*(?:{_WORD})(?:[_-]?\d+)?|(?:[a-z0-9]+_)*(?:{_WORD})_(?!\w*(?:path|file|dir|ids?)$)\w+", re.I
)
_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")
_SHAPES = (  # of which nothing else is likely to be; repeats are bounded, so that no text takes long
    r"\bhf_[a-z0-9]{16}|\b(?:sk|gsk|xai|nvapi)[-_](?=[\w-]{0,200}\d)[\w-]{16}|\bgh[opsu]_\w{16}|\bgithub_pat_\w{16}",
    r"\bglpat-[\w-]{16}|\bxox[abpr]-[\w-]{8}|\bakia[0-9a-z]{12}|\baiza[\w-]{20}|\beyj[\w-]{10,2000}\.[\w-]{10}",
    r"\bbearer\s+(?!\$)\S{6}|\bauthorization\s*:\s*(?!\$)\w",
    r"\w://[^/?#\s]*@",  # https://user:password@host
    rf"[?&][\w-]*(?:{_WORD}|sig(?:nature)?)=[^&\s]",
    rf"(?<![\w-])[\w-]*(?:{_WORD})[\"']?\s*:\s*[\"']?(?![\s$])\S",  # a header, JSON
)
_SHAPE = re.compile("|".join(_SHAPES), re.I)


def key_problem(name: str, value: Any) -> str:
    """Say that a parameter's value looks like a key, or holds one, and the way out, but not the value; else nothing."""
    if name.endswith("key_env") and isinstance(value, str) and value:
        is_name = re.fullmatch(r"[A-Z][A-Z0-9_]*", value) and not _SHAPE.search(value)
        return "" if is_name or value in os.environ else (
            "must be the name of an environment variable, such as OPENAI_API_KEY, and never the key itself"
        )  # fmt: skip
    if any(len(text) > MAX_CHARACTERS for text in _texts(value)):
        return f"is longer than {MAX_CHARACTERS:,} characters"
    if not any(map(_holds_key, _texts(value))):
        return ""
    return ("looks like a key or password (not shown here), and a run keeps its parameters in its notebooks. "
            "Export it as an environment variable before `make run`; a server that is asked gets it by "
            "`server_key_env: NAME`, one that is started finds it there (vLLM: VLLM_API_KEY, HF_TOKEN) or takes it as "
            "`--api-key $NAME` in `server_command`")  # fmt: skip


def reference(word: str) -> str:
    """Return the variable that a word stands for, all of it: $NAME or ${NAME}."""
    return "".join(filter(None, found.groups())) if (found := _REFERENCE.fullmatch(word)) else ""


def key_names(environment: Mapping[str, str], *more: str) -> list[str]:
    """Name the variables that hold keys: those called like it, and `more`."""
    return [name for name in environment if name in more or _NAME.fullmatch(name)]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from map(str, value)
        yield from (text for inner in value.values() for text in _texts(inner))
    elif isinstance(value, list):
        yield from (text for inner in value for text in _texts(inner))


def _holds_key(text: str) -> bool:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    after = dict(enumerate([*words[1:], ""]))
    for k, word in enumerate(words):
        name, assigned, value = word.partition("=")
        if not assigned and word.startswith("-"):
            value = after[k]
        if value and not reference(value) and not value.startswith("-") and _NAME.fullmatch(name):
            return True
    return bool(_SHAPE.search(text))
