"""Reference log-probs on disk: dialogues are read once with the adapter off, whatever labels they are trained on.

A training that was interrupted finds them when it resumes, and so does a control on shuffled labels; to compute them
takes a quarter of a pass over the dialogues. Dialogues that base itself played need no file: their log-probs are known
from playing. A file's name is a digest of all that decides its content; the content is validated when it is read, and
damaged files are ignored. Used by `trainer`; taught in notebook 05.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from maro_lib.learn.corpus import Corpus
from maro_lib.model.loading import Loaded
from maro_lib.runs import make_folder, write_atomic

REFERENCES_FOLDER = "references"  # beside those of the trainings that use it


def references_path(folder: Path, loaded: Loaded, corpus: Corpus, sequences: Sequence[int], *, half: bool) -> Path:
    """Where the log-probs of the action tokens in some sequences of a corpus are, under the weights of `loaded`."""
    total = hashlib.blake2b(digest_size=12)
    total.update(json.dumps([loaded.origin.model_dump(), loaded.fingerprint, half, [*sequences]]).encode())
    for ids in corpus.ids:
        total.update(len(ids).to_bytes(8, "little") + np.asarray(ids, np.int32).tobytes())
    total.update(corpus.actions[["row", "start", "end"]].to_numpy(np.int64).tobytes())
    return folder / f"{total.hexdigest()}.safetensors"


def save_references(path: Path, logps: torch.Tensor) -> None:
    """Write them whole or not at all."""
    make_folder(path.parent)
    write_atomic(path, save({"logps": logps, "check": _check(logps)}))


def load_references(path: Path, n: int) -> torch.Tensor | None:
    """Read them, if n of them are there, and undamaged."""
    try:
        found = load(path.read_bytes())
    except (OSError, SafetensorError):
        return None
    logps, check = found.get("logps"), found.get("check")
    whole = logps is not None and check is not None and logps.shape == (n,) and torch.equal(_check(logps), check)
    return logps if whole else None


def _check(logps: torch.Tensor) -> torch.Tensor:
    return torch.tensor(list(hashlib.blake2b(logps.numpy().tobytes(), digest_size=16).digest()), dtype=torch.uint8)
