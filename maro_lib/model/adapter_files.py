"""An adapter's folder: read and compared with its base before PEFT sees it; what can't be trusted is named.

    adapter_config.json        untrusted: plain LoRA only, and nothing in it is followed
    adapter_model.safetensors  the tensors that config and model ask for, all finite
    base.json                  on which weights it was trained, with digests of the other two; training writes it

Weights are compared by some numbers of every tensor, rounded to bfloat16: float64, float32 and bfloat16 agree. In 4
bits they are other numbers, so across that border only what 4 bits leave alone is compared: norms, biases, embeddings.
Used by `loading`, `training` and `export`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from maro_lib.runs import located, write_atomic
from maro_lib.strict_json import read_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CONFIG, WEIGHTS, ORIGIN = ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "base.json")
NUMBERS = 64  # that are looked at, of every tensor
UNUSED = ("base_model_name_or_path", "inference_mode", "lora_dropout", "megatron_core", "peft_version",
          "qalora_group_size", "revision")  # decide nothing where plain LoRA plays  # fmt: skip
AGAIN = "copy it again, or train again"
Schema = TypeVar("Schema", bound=BaseModel)


class AdapterError(ValueError):
    """An adapter's folder can't be used; the message says which file, which tensor or field, and what to do."""


class Origin(BaseModel):
    """The weights that an adapter is trained on; `dtype` tells 4 bits made on a GPU from a processor's."""

    model: str
    precision: str
    dtype: str
    weights: str = ""  # digest of some numbers of every tensor
    unquantised: str = ""  # of those that 4 bits leave alone
    digests: dict[str, str] = {}  # of the config, and of each of the adapter's tensors


class LoraFields(BaseModel):
    """What is taken of adapter_config.json; every other field has to be off."""

    model_config = ConfigDict(strict=True, extra="allow")

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"] | None = None
    target_modules: list[str] = Field(min_length=1)
    r: int = Field(gt=0)
    lora_alpha: int | float = Field(gt=0, allow_inf_nan=False)
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    bias: Literal["none"] = "none"
    init_lora_weights: bool | Literal["gaussian"] = True  # others (pissa, olora, ...) were trained on a changed base

    @model_validator(mode="after")
    def _nothing_else_is_on(self) -> Self:
        extra = self.model_extra or {}
        if on := [name for name, value in extra.items() if name not in UNUSED and value not in (None, False, {}, [])]:
            raise ValueError(f"{', '.join(on)}: not supported; only plain LoRA is")
        return self

    def hits(self, module: str) -> bool:
        """True for a module that the adapter is put on."""
        return any(f".{module}".endswith(f".{target}") for target in self.target_modules)


@dataclass(frozen=True)
class AdapterFiles:
    """What lies in an adapter's folder, each file sound in itself."""

    config: LoraFields
    tensors: dict[str, torch.Tensor]
    origin: Origin | None  # None: made elsewhere


def read_adapter(folder: Path) -> AdapterFiles:
    """Read an adapter's folder; damaged, foreign or non-finite content is an error."""
    for name in (WEIGHTS, CONFIG):
        if not (folder / name).is_file():
            raise AdapterError(f"there is no {name} in it; give the folder that training wrote (pickles are not read)")
    config = (folder / CONFIG).read_bytes()
    fields = _parsed(LoraFields, CONFIG, config)
    tensors = _tensors((folder / WEIGHTS).read_bytes())
    origin = _parsed(Origin, ORIGIN, (folder / ORIGIN).read_bytes()) if (folder / ORIGIN).exists() else None
    if origin and origin.digests:
        digests = {CONFIG: digest_of(config)} | {name: tensor_digest(tensor) for name, tensor in tensors.items()}
        _same_names(origin.digests, digests)
        for name, digest in digests.items():
            if origin.digests[name] != digest:
                where = CONFIG if name == CONFIG else f"{WEIGHTS}: {name}"
                raise AdapterError(f"{where}: is not what training wrote ({ORIGIN} has another digest); {AGAIN}")
    return AdapterFiles(fields, tensors, origin)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a whole model."""
    return (folder / CONFIG).exists() and not (folder / "config.json").exists()


def base_of(name: str) -> str:
    """The model at the root of a name: an adapter's folder means what it was trained on, perhaps on others' top."""
    seen = {name}
    while is_adapter(located(name)):
        origin = located(name) / ORIGIN
        if not origin.exists():
            raise AdapterError(f"{name}: no {ORIGIN} says on which model it was trained; give that as `model`, and "
                               "this as `adapter`")  # fmt: skip
        name = _parsed(Origin, ORIGIN, origin.read_bytes()).model
        if name in seen:
            raise AdapterError(f"{name}: {ORIGIN} says that it was trained on itself; train again")
        seen.add(name)
    return name


def seal(folder: Path, origin: Origin) -> None:
    """Note in an adapter's folder on which weights it was trained, and digests; its config then names no place."""
    config = json.loads((folder / CONFIG).read_bytes()) | {"base_model_name_or_path": origin.model}
    config["target_modules"] = sorted(config["target_modules"])
    data = (json.dumps(config, indent=1, sort_keys=True) + "\n").encode()
    tensors = _tensors((folder / WEIGHTS).read_bytes())
    digests = {CONFIG: digest_of(data)} | {name: tensor_digest(tensors[name]) for name in sorted(tensors)}
    write_atomic(folder / CONFIG, data)
    write_atomic(folder / ORIGIN, origin.model_copy(update={"digests": digests}).model_dump_json(indent=1) + "\n")


def compare(trained_on: Origin | None, here: Origin) -> str:
    """Refuse other weights than an adapter was trained on; return a sentence about what could not be verified."""
    if not (trained_on and trained_on.weights):
        return f"was made elsewhere: that it was trained on {here.model} is unverified"
    alike = "nf4" not in (trained_on.precision, here.precision) or _kind(trained_on) == _kind(here)
    digests = [(o.weights if alike else o.unquantised) for o in (trained_on, here)]
    if digests[0] != digests[1]:
        raise AdapterError(
            f"{ORIGIN}: it was trained on other weights ({trained_on.model}, {_kind(trained_on)}, {digests[0]}) than "
            f"these ({here.model}, {_kind(here)}, {digests[1]}); load those, or train again on these"
        )
    return "" if alike else (f"was trained on {_kind(trained_on)}, and these are {_kind(here)}: close, not the same; "
                             "of the base only norms, biases and embeddings were compared")  # fmt: skip


def attach(model: PreTrainedModel, files: AdapterFiles, slot: str = "default") -> PreTrainedModel:
    """Put an adapter on a model, or beside those that it carries; the base is proven to stay as it was."""
    from peft import PeftModel, get_peft_model, set_peft_model_state_dict

    _check_shapes(files, model)
    before = weight_digests(model)
    if isinstance(model, PeftModel):
        model.add_adapter(slot, _peft_config(files.config))
    else:
        model = get_peft_model(model, _peft_config(files.config), adapter_name=slot)
    set_peft_model_state_dict(model, files.tensors, adapter_name=slot)
    if weight_digests(model) != before:
        raise AdapterError(f"{CONFIG}: attaching it has changed the base; load the model again, without this adapter")
    return model.eval()


def weight_digests(model: PreTrainedModel) -> tuple[str, str]:
    """Digests of a base, whatever it carries: of some numbers of each tensor, and of those that 4 bits leave alone."""
    import torch

    every, unquantised = hashlib.blake2b(digest_size=8), hashlib.blake2b(digest_size=8)
    embedding = model.get_input_embeddings().weight
    for name, tensor in model.named_parameters():
        if "lora_" in name:
            continue
        codes = hasattr(tensor, "quant_state")  # 4 bits, in whatever type FSDP wants them stored
        flat = tensor.detach().flatten().view(torch.uint8) if codes else tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // NUMBERS)]
        some = some if codes else some.to(torch.bfloat16).view(torch.int16)
        part = f"{_plain(name)} {some.tolist()}".encode()
        every.update(part)
        if tensor.ndim == 1 or tensor is embedding:
            unquantised.update(part)
    return every.hexdigest(), unquantised.hexdigest()


def digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def tensor_digest(tensor: torch.Tensor) -> str:
    import torch

    numbers = tensor.contiguous().flatten().view(torch.uint8).numpy()
    return digest_of(f"{tensor.dtype} {tuple(tensor.shape)}".encode() + numbers.tobytes())


def _peft_config(fields: LoraFields):
    """PEFT's own config, of these fields alone; its initialisation touches nothing but the adapter."""
    from peft import LoraConfig

    return LoraConfig(
        r=fields.r, lora_alpha=fields.lora_alpha, target_modules=fields.target_modules, use_rslora=fields.use_rslora,
        fan_in_fan_out=fields.fan_in_fan_out, init_lora_weights=True, inference_mode=True, task_type="CAUSAL_LM",
    )  # fmt: skip


def _check_shapes(files: AdapterFiles, model: PreTrainedModel) -> None:
    """Compare an adapter's tensors with what its config asks for on this model."""
    import torch
    from transformers.pytorch_utils import Conv1D

    shapes: dict[str, tuple[int, int]] = {}
    for wrapped, module in model.named_modules():
        name = _plain(wrapped)
        if "lora_" in wrapped or hasattr(module, "base_layer") or not files.config.hits(name):
            continue
        if not isinstance(module, torch.nn.Linear | Conv1D):
            raise AdapterError(f"{CONFIG}: target_modules: {name} is no linear layer of this model")
        sizes = module.weight.shape if isinstance(module, Conv1D) else (module.in_features, module.out_features)
        shapes[f"base_model.model.{name}.lora_A.weight"] = (files.config.r, sizes[0])
        shapes[f"base_model.model.{name}.lora_B.weight"] = (sizes[1], files.config.r)
    if not shapes:
        raise AdapterError(f"{CONFIG}: target_modules: this model has none of them")
    _same_names(shapes, files.tensors)
    for name, shape in shapes.items():
        if (has := tuple(files.tensors[name].shape)) != shape:
            raise AdapterError(f"{WEIGHTS}: {name}: its shape is {has}, and {shape} on this model; load its own base")


def _same_names(wanted: dict[str, object], names: dict[str, object]) -> None:
    for what, found in (("missing", wanted.keys() - names.keys()), ("not asked for", names.keys() - wanted.keys())):
        if found:
            more = f" and {len(found) - 1} more" if len(found) > 1 else ""
            raise AdapterError(f"{WEIGHTS}: {min(found)}{more}: {what}; {AGAIN}, or load its own base")


def _tensors(data: bytes) -> dict[str, torch.Tensor]:
    """Read safetensors; what is damaged or non-finite is named."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:
        raise AdapterError(f"{WEIGHTS}: {_cut(data)}damaged ({error}); {AGAIN}") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            raise AdapterError(f"{WEIGHTS}: {name}: holds {tensor.dtype}, not floating-point numbers")
        if not tensor.isfinite().all():
            raise AdapterError(f"{WEIGHTS}: {name}: holds numbers that are not finite; {AGAIN}")
    return tensors


def _cut(data: bytes) -> str:
    """Name the first tensor that a truncated file ends in, if its header can be read."""
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        ends = {name: start + entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        name = min((name for name, end in ends.items() if end > len(data)), key=ends.__getitem__)
        return f"{name}: the file ends in it: "
    return ""


def _parsed(schema: type[Schema], file: str, data: bytes) -> Schema:
    """Check a file's content; nothing is quoted of a file of another kind."""
    try:
        content = read_json(data)
    except ValueError as error:
        raise AdapterError(f"{file}: {error}") from None
    if schema is LoraFields and not (isinstance(content, dict) and content.get("peft_type") == "LORA"):
        raise AdapterError(f"{file}: describes no LoRA adapter; give the folder that training has written")
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"][:1]))
        value = f": {str(first['input'])[:60]!r}" if field and schema is LoraFields else ""
        raise AdapterError(f"{file}: {field}{value}: {first['msg'].removeprefix('Value error, ')}") from None


def _plain(name: str) -> str:
    """A tensor's or module's name without what PEFT puts around it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "")


def _kind(origin: Origin) -> str:
    return f"{origin.precision} weights in {origin.dtype}"
