"""JSON as plain data from anywhere: servers, data sets, checkouts. Bounded like YAML; no error quotes what was read."""

from __future__ import annotations

import json
import re
from typing import Any

from maro_lib.strict_yaml import MAX_DEPTH, MAX_DIGITS

MAX_LISTS = 200_000  # and objects; the log-probs of a long reply are some 100,000
_SIGNS = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)  # a string, a beginning, an end


def read_json(text: str | bytes, **how: Any) -> Any:
    """Read one JSON value; what is none, or is too deep, is a ValueError. `how` is for `json.loads`."""
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        if (n := text.count("[") + text.count("{")) > MAX_LISTS:
            raise ValueError(f"holds more than {MAX_LISTS:,} lists and objects")
        if n > MAX_DEPTH:
            _check_depth(text)
        return json.loads(text, parse_int=_number, **how)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON (line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None


def _check_depth(text: str) -> None:
    depth = 0
    for sign in _SIGNS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(sign[0], 0)
        if depth > MAX_DEPTH:
            raise ValueError(f"holds more than {MAX_DEPTH} levels")


def _number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"holds a number of more than {MAX_DIGITS} digits")
    return int(digits)
