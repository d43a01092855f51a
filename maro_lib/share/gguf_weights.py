"""Merged weights as one GGUF file, for llama.cpp: matrices in 16 bits, vectors in 32, tokenizer and template inside.

Written for the architectures that the kit's parameter files name, Qwen2 and Llama. llama.cpp knows ways to split text
by name, so a tokenizer that splits otherwise is refused, as is a scaled rope. What was written, `model.gguf` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import safe_open

from maro_lib.model.gguf import INSTALL, GgufError
from maro_lib.runs import MissingInput
from maro_lib.share.cards import write_card
from maro_lib.share.source import Source
from maro_lib.share.weights import is_merged_here, weights_facts, weights_header

if TYPE_CHECKING:
    from gguf import GGUFWriter
    from transformers import PreTrainedTokenizerBase

GGUF_FILE = "merged.gguf"
WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {rf"{WORD}\p{{N}}{REST}": "qwen2", rf"{WORD}\p{{N}}{{1,3}}{REST}": "llama-bpe"}  # llama.cpp's name, by pattern
NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5  # kinds of token


def write_gguf_set(source: Source, folder: Path) -> None:
    """Write the exported merged weights as one file, with a card."""
    if not is_merged_here(merged := source.into / "merged", source.at("learning") / "adapter"):
        raise MissingInput("there are no merged weights to make it of")
    if not find_spec("gguf"):
        raise GgufError(f"the package gguf, which writes it, is not installed; {INSTALL}")
    write_gguf(merged, folder / GGUF_FILE)
    header = weights_header(source, "gguf")
    write_card(folder, "gguf", header, file=GGUF_FILE, **weights_facts(source))


def write_gguf(model: Path, path: Path) -> None:
    """Write a folder of safetensors as a GGUF file."""
    from gguf import GGUFWriter
    from transformers import AutoTokenizer

    config = json.loads((model / "config.json").read_bytes())
    if (kind := config["model_type"]) not in ("qwen2", "llama"):
        raise GgufError(
            f"a model of the kind {kind!r} is not written as GGUF here; llama.cpp's own converter may do it"
        )
    if (rope := config["rope_parameters"]["rope_type"]) != "default":
        raise GgufError(f"its rope is scaled ({rope}), which is not written here; llama.cpp's own converter does it")
    writer = GGUFWriter(path, kind)
    try:
        _add_shape(writer, config)
        _add_tokenizer(writer, AutoTokenizer.from_pretrained(model), model, config["vocab_size"])
        for name, tensor in _tensors(model, kind, config):
            writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _add_shape(writer: GGUFWriter, config: dict[str, Any]) -> None:
    from gguf import LlamaFileType

    heads = config["num_attention_heads"]
    writer.add_file_type(LlamaFileType.MOSTLY_F16)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, model: Path, n_rows: int) -> None:
    """Add tokens, merges and the chat template; rows of the embedding that no token has are called unused."""
    told = json.loads((model / "tokenizer.json").read_bytes())
    by_id = {k: token for token, k in tokenizer.get_vocab().items()}
    added = {token["id"]: CONTROL if token["special"] else USER_DEFINED for token in told["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split_name(told["pre_tokenizer"]))
    writer.add_token_list([by_id.get(k, f"[PAD{k}]") for k in range(n_rows)])
    writer.add_token_types([added.get(k, NORMAL if k in by_id else UNUSED) for k in range(n_rows)])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in told["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    if tokenizer.pad_token_id is not None:
        writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.bos_token_id is not None:
        writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_add_bos_token(tokenizer("a").input_ids[0] == tokenizer.bos_token_id)
    writer.add_chat_template(tokenizer.chat_template)


def split_name(pre_tokenizer: dict[str, Any]) -> str:
    """Return what llama.cpp calls a tokenizer's way to split text."""
    parts = pre_tokenizer.get("pretokenizers") or [pre_tokenizer]
    match [part["type"] for part in parts]:
        case ["ByteLevel"] if parts[0]["use_regex"]:
            return "gpt-2"
        case ["Split", "ByteLevel"] if name := SPLITS.get(parts[0]["pattern"].get("Regex")):
            return name
    raise GgufError("its tokenizer splits text in a way that llama.cpp has no name for; it is not written as GGUF")


def _tensors(model: Path, kind: str, config: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield weights under the names and in the order that llama.cpp wants them."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[kind.upper()], config["num_hidden_layers"])
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="np") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no mapping
                tensor = tensors.get_tensor(name)
                if kind == "llama" and (n := heads.get(name.split(".")[-2])):
                    tensor = _interleaved(tensor, n)
                yield names.get_name(name, (".weight", ".bias")), _stored(name, tensor)


def _interleaved(tensor: np.ndarray, n_heads: int) -> np.ndarray:
    """Put the rows of each head in pairs: llama.cpp turns neighbours for this kind, transformers halves of a head."""
    halves = tensor.reshape(n_heads, 2, -1, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _stored(name: str, tensor: np.ndarray) -> np.ndarray:
    stored = tensor.astype(np.float16 if tensor.ndim > 1 else np.float32)
    if not np.isfinite(stored).all():
        raise GgufError(f"{name}: holds numbers that 16 bits can't; it is not written as GGUF")
    return stored
