"""Export: an adapter becomes ordinary weights that need neither PEFT nor 4 bits, and that are proven to be the same.

    W_merged = W + (alpha / r) B A        W: the weights that the adapter was trained on

4-bit weights are made float32 first, then merged, so W is what training saw. Merged into 4 bits the sum is rounded
away; merged onto the original weights it corrects another model. What was written is read again and compared before it
gets its name. Taught in notebook 05.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError

from maro_lib.model.adapter_files import WEIGHTS, AdapterError, Origin, digest_of, read_adapter
from maro_lib.model.loading import Loaded, load, merged, quiet, token_logps
from maro_lib.runs import located, portable, remedy

NOTE = "merged.json"  # what a merged folder was made from
TOLERANCE = 1e-3  # float32 rounding reaches 1e-5 on the embedded model, a wrong way of merging 2


class ExportError(RuntimeError):
    """Weights can't be exported; the message says why, what is safe, and what to do."""


def merge(
    name: str, adapter: Path | str, target: Path | str, *,
    precision: str = "auto", device: str = "auto", tolerance: float = TOLERANCE,
) -> float:  # fmt: skip
    """Write a model with its adapter merged in as float32 safetensors; return how far its log-probs are off at most.

    `precision` is that of the weights that the adapter was trained on; `auto` takes what training noted there.
    """
    adapter, target = located(str(adapter)), Path(target)
    try:
        trained_on = read_adapter(adapter).origin
    except AdapterError as error:
        raise ExportError(f"{adapter}: {error}") from None
    if target.exists() and not (target / NOTE).exists():
        raise ExportError(f"{target}: holds something that `merge` did not make; give another folder")
    precision = trained_on.precision if trained_on and precision == "auto" else precision
    plain = load(name, precision=precision, device=device)
    _check_base(plain, trained_on, adapter)
    sequences = _sequences(plain)
    expected = _as_trained(name, plain.precision, adapter, device, sequences)
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        _write(merged(plain, read_adapter(adapter)), plain.tokenizer, temporary)
        gap = float((_logps(load(str(temporary), precision="float32", device=device).model, sequences) - expected)
                    .abs().max())  # fmt: skip
        if not gap <= tolerance:
            raise ExportError(f"{target}: not written. Read again, its log-probs are off by up to {gap:.2g} (at most "
                              f"{tolerance:g} is rounding), so it is not the model that was trained")  # fmt: skip
        (temporary / NOTE).write_text(_note(plain, adapter, gap), encoding="utf-8")
        _put(temporary, target)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"{target}: can't be written ({str(error).partition(chr(10))[0]}); nothing was left "
                          f"half-written. {remedy(error)} and run the same command again") from None  # fmt: skip
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return gap


def _check_base(plain: Loaded, trained_on: Origin | None, adapter: Path) -> None:
    """Refuse to merge onto another precision than the adapter was trained on; other weights are refused at loading."""
    here = plain.origin
    if trained_on and (trained_on.precision, trained_on.dtype) != (here.precision, here.dtype):
        raise ExportError(
            f"{adapter}: was trained on {trained_on.precision} weights in {trained_on.dtype}, not on "
            f"{here.precision} in {here.dtype}: merged so it would be another model. Take the precision, "
            "and the kind of device, that it was trained with"
        )


def _sequences(loaded: Loaded) -> list[list[int]]:
    """Tokens to compare by: any will do, since every weight has a part in every log-probability."""
    rng = torch.Generator().manual_seed(0)
    return [torch.randint(loaded.model.config.vocab_size, (n,), generator=rng).tolist() for n in (16, 64, 128)]


def _as_trained(
    name: str, precision: str, adapter: Path, device: str, sequences: list[list[int]]
) -> torch.Tensor:  # fmt: skip
    """Log-probs of base and adapter, the base as it was trained on; computed in float32, so that no rounding hides."""
    model = load(name, precision=precision, adapter=str(adapter), device=device).model
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.float()
    return _logps(model, sequences)


def _write(model: torch.nn.Module, tokenizer, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _put(temporary: Path, target: Path) -> None:
    """Give what was written its name, in the place of what an earlier call made."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    os.rename(temporary, target)
    shutil.rmtree(old, ignore_errors=True)


def _note(plain: Loaded, adapter: Path, gap: float) -> str:
    digest = digest_of((adapter / WEIGHTS).read_bytes())
    made_from = plain.origin.model_dump(exclude={"digests"}) | {"adapter": portable(str(adapter))}
    made_from |= {"adapter_digest": digest, "largest_gap": gap}
    return json.dumps(made_from, indent=1) + "\n"


def _logps(model: torch.nn.Module, sequences: list[list[int]]) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat(token_logps(model.eval(), sequences)).cpu()
