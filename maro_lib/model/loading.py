"""Loading a model: what it is read from, a precision, perhaps an adapter; never code or pickles from elsewhere.

A model is one that comes along (`embedded`, `worlds`), a folder of safetensors, a hub's name, a GGUF file (`smollm2`:
the one of a package), or the folder of an adapter: that is the model on which it was trained, with the adapter merged
in before the precision is applied.

`precision` is one of float64, float32, bfloat16, nf4 (4-bit NormalFloat with double quantisation, as QLoRA has it) or
auto: bfloat16 on a GPU; on a processor float32, but bfloat16 for a large model where a short measurement says it pays.
What 4 bits hold is multiplied in the type that `auto` takes. float64 is for small models: rounding then never decides
which token is drawn, so the same seed gives the same games on every machine. Used from notebook 00 on.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from transformers.utils import logging as hf_logging

from maro_lib.model.adapter_files import (
    ADAPTER_FILES,
    AdapterError,
    AdapterFiles,
    Origin,
    attach,
    base_of,
    compare,
    is_adapter,
    read_adapter,
    weight_digests,
)
from maro_lib.model.bfloat16 import bfloat16_pays
from maro_lib.model.gguf import GgufError, gguf_file, is_gguf, kept
from maro_lib.model.shipped import SHIPPED, not_made
from maro_lib.runs import located, portable
from maro_lib.wording import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = SHIPPED["embedded"]
STUDY_ADAPTER = "maro_lib/embedded/adapters/maro_seed0"  # what it learned from 2,000 games: notebook 08
START_ADAPTER = "maro_lib/embedded/adapters/smollm2"  # SmolLM2 after its cold start: notebook 11
PRECISIONS = ("auto", "float64", "float32", "bfloat16", "nf4")
LARGE = 2**26  # bytes of weights: smaller models are quick in any precision
MMAP_THRESHOLD = -3, 2**22  # glibc's name for it, and the bytes
SIDE_BY_SIDE = 2**29  # weights that processes side by side may hold together: 2 GB in float32


class ModelError(RuntimeError):
    """A model can't be loaded; the message says which, why, and what to do."""


@dataclass
class Loaded:
    """A model with its tokenizer, and what it was loaded from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str
    precision: str
    adapter: str = ""
    sharded: bool = False  # in main memory for now; FSDP cuts it, and moves the shards
    slot: str = "default"  # what PEFT calls this adapter, among all that the model carries

    @property
    def device(self) -> torch.device:
        return self.model.device

    @cached_property
    def fingerprint(self) -> str:
        """A digest of some numbers of every tensor as loaded, which tells retrained weights of one name apart."""
        return self._digest(self.slot)

    @cached_property
    def base_fingerprint(self) -> str:
        """The same with the adapter off: alike for all adapters of one base."""
        return self._digest("")

    def _digest(self, slot: str) -> str:
        """Hash some numbers of every tensor, of the adapters' only those in one slot."""
        total = hashlib.blake2b(digest_size=8)
        for name, tensor in self.model.state_dict().items():
            if "lora_" in name and slot not in name.split("."):
                continue
            name = name.replace(f".{self.slot}", ".default")
            some = tensor.detach().flatten()[:: max(1, tensor.numel() // 64)]
            total.update(f"{name} {tuple(tensor.shape)} {some.double().tolist()}".encode())
        return total.hexdigest()

    @cached_property
    def origin(self) -> Origin:
        """The base, as it is noted with an adapter that is trained on it."""
        weights, unquantised = weight_digests(self.model)
        return Origin(
            model=portable(self.name), precision=self.precision, dtype=str(self.model.dtype).partition(".")[2],
            weights=weights, unquantised=unquantised,
        )  # fmt: skip

    @property
    def n_side_by_side(self) -> int:
        """How many processes may work with it at a time: on a processor one a core, if it is small; else one."""
        at_most = SIDE_BY_SIDE // self.model.num_parameters() if self.device.type == "cpu" and not self.sharded else 1
        return max(1, min(at_most, os.cpu_count() or 1))

    def active(self) -> PreTrainedModel:
        """The model with this adapter, whichever others it carries; only for playing, since it is frozen then."""
        if self.adapter and self.model.active_adapter != self.slot:
            self.model.set_adapter(self.slot, inference_mode=True)
        return self.model

    def beside(self, adapter: str) -> Loaded:
        """The same model with another adapter, beside those that it carries: no second copy is needed."""
        slot = f"beside_{len(self.model.peft_config)}" if self.adapter else self.slot
        return replace(self, model=_attach(self, adapter, slot), adapter=adapter, slot=slot)

    @contextlib.contextmanager
    def base(self) -> Iterator[PreTrainedModel]:
        """The model without its adapter, for the time of a `with`: no second copy is needed."""
        with self.model.disable_adapter() if self.adapter else contextlib.nullcontext():
            yield self.model


def load(
    name: str, *, precision: str = "auto", adapter: str = "", device: str = "auto", sharded: bool = False
) -> Loaded:
    """Load a model; `sharded` where FSDP is to spread it over several GPUs."""
    if problem := not_made(name):
        raise ModelError(f"model {problem}")
    _give_back_freed_memory()
    device = best_device() if device == "auto" else device
    if precision not in PRECISIONS:
        raise ModelError(f"precision: {precision!r}; one of {', '.join(PRECISIONS)} is needed")
    fast = fast_type(name, device)
    precision = fast if precision == "auto" else precision
    if _n_bytes(name) > LARGE:
        gc.collect()  # models have circles: one that nobody uses any more would stand beside this one
    wanted = {"device_map": {"": "cpu" if sharded else device}, **in_precision(precision, fast, sharded)}
    with quiet():
        try:
            model, tokenizer = _read(name, wanted)
        except GgufError as error:
            raise ModelError(str(error)) from None
        except (OSError, ValueError) as error:
            raise ModelError(
                f"model {name!r} can't be loaded: {first_line(error)}. Give a folder or a hub name that holds "
                "safetensors, a tokenizer, and no code of its own; offline, a folder"
            ) from error
    tokenizer.name_or_path = name
    guard_4bit(model)
    loaded = Loaded(model.eval(), tokenizer, name, precision, sharded=sharded)
    return loaded.beside(adapter) if adapter else loaded


@cache
def _give_back_freed_memory() -> None:
    """Let glibc hand large blocks back when they are freed: else a night's kept views leave gigabytes of holes."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(*MMAP_THRESHOLD)


def fast_type(name: str, device: str) -> str:
    """What a device computes a model in, where `auto` or 4 bits leave it open."""
    if device != "cpu":
        return "bfloat16"
    return "bfloat16" if LARGE < _n_bytes(name) < math.inf and bfloat16_pays() else "float32"


def _n_bytes(name: str) -> float:
    """Bytes of a model's weights as they are stored; infinite where they are not on this machine."""
    with contextlib.suppress(AdapterError, GgufError):  # whoever loads it is told
        base = base_of(name)
        if is_gguf(base):
            return gguf_file(base, located(base)).stat().st_size
        folder = model_folder(base)
        return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder else math.inf
    return 0


def token_logps(
    model: torch.nn.Module, sequences: Sequence[Sequence[int]], *, padding: str = "right"
) -> list[torch.Tensor]:
    """Score sequences in one batch: of each, the log-probability of every token but the first, (tokens - 1,)."""
    longest = max(map(len, sequences))
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for k, s in enumerate(sequences):
        at = slice(0, len(s)) if padding == "right" else slice(longest - len(s), longest)
        ids[k, at], mask[k, at] = torch.tensor(s), 1
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    ids, mask, positions = (x.to(model.device) for x in (ids, mask, positions))
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    logps = torch.log_softmax(logits[:, :-1].float(), -1).gather(2, ids[:, 1:, None])[:, :, 0]
    return [logps[k, m[1:].bool() & m[:-1].bool()] for k, m in enumerate(mask)]


def as_nf4(weights: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Store weights in 4 bits, in blocks of 64, and read them back; return them, and the bits that each one took."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    codes, state = quantize_4bit(weights.contiguous(), quant_type="nf4", blocksize=64)
    n_bits = (codes.numel() * 8 + state.absmax.numel() * 32) / weights.numel()
    return dequantize_4bit(codes, state), n_bits


def best_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def guard_4bit(model: torch.nn.Module) -> None:
    """Keep bitsandbytes from repacking weights in place.

    On processors with AVX512-BF16 a forward in eval mode would do that, and training after it get wrong gradients,
    silently on Llama-type models.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def in_precision(precision: str, fast: str, sharded: bool = False) -> dict[str, object]:
    """What transformers is told so that weights come in a precision; those of 4 bits are multiplied in a fast type."""
    if precision != "nf4":
        return {"dtype": getattr(torch, precision)}
    compute = getattr(torch, fast)
    return {
        "dtype": compute,
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
            bnb_4bit_quant_storage=compute if sharded else torch.uint8,  # FSDP cuts floats only, all of one type
        ),
    }


def model_folder(name: str) -> Path | None:
    """The folder on this machine that a model's name means; None: the hub's. A GGUF file is read into one."""
    if is_gguf(name):
        return kept(name, located(name))
    return SHIPPED.get(name) or (located(name) if located(name).is_dir() else None)


def _read(name: str, how: Mapping[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read weights and tokenizer."""
    source = model_folder(name)
    if source and is_adapter(source):
        base_of(name)  # that there is one
        return _read_merged(name, read_adapter(source), how)
    tokenizer = AutoTokenizer.from_pretrained(source or name, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(source or name, trust_remote_code=False, use_safetensors=True, **how)
    return model, tokenizer


def _read_merged(
    name: str, files: AdapterFiles, how: Mapping[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Read the model that an adapter was trained on, in float32, and merge the adapter; 4 bits come after that."""
    root = files.origin.model
    try:
        base = load(root, precision=files.origin.precision, device="cpu")
    except ModelError as error:
        raise ModelError(f"model {name!r} was trained on {root!r}: {error}. If that folder lies elsewhere, make a link "
                         "to it by this name in the folder where you start") from None  # fmt: skip
    if note := compare(files.origin, base.origin):
        _say_once(f"model {name!r}: {note}")
    model = merged(base, files)
    if "quantization_config" in how:
        weights = model.state_dict()
        return type(model).from_pretrained(None, config=model.config, state_dict=weights, **how), base.tokenizer
    return model.to(how["dtype"]).to(how["device_map"][""]), base.tokenizer


def merged(base: Loaded, files: AdapterFiles) -> PreTrainedModel:
    """Merge an adapter into its base, made float32 first: into 4 bits the sum would be rounded away."""
    with quiet():
        model = _dequantised(base.model) if base.precision == "nf4" else base.model
        return attach(model.float(), files).merge_and_unload()


def _dequantised(model: PreTrainedModel) -> PreTrainedModel:
    """Read 4 bits back in float32: else they are rounded to the type that they are multiplied in."""
    for weight in model.parameters():
        if state := getattr(weight, "quant_state", None):
            state.dtype = torch.float32
    return model.dequantize(torch.float32)


def _attach(loaded: Loaded, adapter: str, slot: str) -> PreTrainedModel:
    try:
        files = read_adapter(_adapter_folder(adapter))
        note = compare(files.origin, loaded.origin)
        with quiet():
            model = attach(loaded.model, files, slot)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"adapter {adapter!r} can't be attached: {first_line(error)}") from error
    if note:
        _say_once(f"adapter {adapter!r}: {note}")
    return model


def _adapter_folder(adapter: str) -> Path:
    from huggingface_hub import snapshot_download

    folder = located(adapter)
    return folder if folder.is_dir() else Path(snapshot_download(adapter, allow_patterns=[*ADAPTER_FILES]))


@cache
def _say_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars or hints while loading: they would differ in every notebook's stored output."""
    verbosity, shown = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of what one of these libraries asks of another
            yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if shown:
            hf_logging.enable_progress_bar()
