"""Cards: the README.md of a data set or a model, a header of YAML and words from words/*.md with the facts filled in.

A fact is escaped the moment it enters, so that no name and no reply can be taken for markup. Used by all parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from maro_lib.markup import visible
from maro_lib.play.tables import Column
from maro_lib.runs import write_atomic

CARD_WORDS = Path(__file__).with_name("words")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$!&])")


class Markdown(str):
    """Markup: enters a card as it is, where a plain string is escaped."""


def write_card(folder: Path, words: str, header: Mapping[str, Any], **facts: object) -> None:
    """Write a folder's README.md: its header, then the words of that name with their facts."""
    top = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    write_atomic(folder / "README.md", f"---\n{top}---\n\n{filled_words(words, **facts)}")


def filled_words(words: str, **facts: object) -> Markdown:
    """Return the words of words/<name>.md with their facts."""
    text = (CARD_WORDS / f"{words}.md").read_text(encoding="utf-8")
    return Markdown(text.format_map({name: _entering(fact) for name, fact in facts.items()}))


def code(fact: object) -> Markdown:
    """Return a fact as code: a name that may be copied."""
    return Markdown(f"`{' '.join(visible(str(fact)).replace('`', ' ').split())}`")


def rows_of(rows: Iterable[Sequence[object]]) -> Markdown:
    """Return the rows of a table whose head stands in the words."""
    return Markdown("\n".join(f"| {' | '.join(map(_entering, row))} |" for row in rows))


def column_rows(columns: Iterable[Column]) -> Markdown:
    """Return a row per column of a table: its name, type and meaning."""
    return rows_of((code(c.name), code(str(c.type).replace("item: ", "")), c.meaning) for c in columns)


def set_header(folder: Path, licence: str, tags: Sequence[str], configs: Sequence[str]) -> dict[str, Any]:
    """Return the header of a data set whose configs lie in <config>/train.parquet; the first one is the default."""
    files = {name: pq.read_metadata(folder / name / "train.parquet") for name in configs}
    return {
        "license": licence, "tags": list(tags),
        "configs": [{"config_name": name, "default": name == configs[0],
                     "data_files": [{"split": "train", "path": f"{name}/train.parquet"}]} for name in configs],
        "dataset_info": [{"config_name": name, "splits": [_split(file)]} for name, file in files.items()],
    }  # fmt: skip


def _split(file: pq.FileMetaData) -> dict[str, Any]:
    n_bytes = sum(file.row_group(k).total_byte_size for k in range(file.num_row_groups))
    return {"name": "train", "num_examples": file.num_rows, "num_bytes": n_bytes}


def _entering(fact: object) -> str:
    return fact if isinstance(fact, Markdown) else _SPECIAL.sub(r"\\\1", " ".join(visible(str(fact)).split()))
