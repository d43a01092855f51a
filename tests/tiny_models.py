"""Models of the architectures that the GPU files name, tiny and of random weights, with chat templates like theirs."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from maro_lib.learn.adapters import adapt
from maro_lib.learn.settings import Settings
from maro_lib.model.adapter_files import seal
from maro_lib.model.loading import EMBEDDED, load

# linear layers have multiples of 64 inputs, as 4 bits want them; keys are shared by heads, as in the large ones
SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1,
         "intermediate_size": 128, "max_position_embeddings": 32_768}  # fmt: skip
QWEN_TEMPLATE = """{%- if messages[0].role != 'system' %}<|im_start|>system
You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>
{% endif %}{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"""
LLAMA_TEMPLATE = """{{- bos_token }}{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}
{{- 'Cutting Knowledge Date: December 2023\nToday Date: ' + date_string | default('26 Jul 2024') + '\n\n' }}
{%- if messages[0].role == 'system' %}{{- messages[0].content | trim }}{%- set messages = messages[1:] %}{%- endif %}
{{- '<|eot_id|>' }}{%- for message in messages %}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"""


def tiny_qwen(folder: Path) -> Path:
    """Write a Qwen2: heads that share keys, biases, a head of its own."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    tokenizer.chat_template = QWEN_TEMPLATE
    return _write(Qwen2ForCausalLM, Qwen2Config, tokenizer, folder)


def tiny_llama(folder: Path) -> Path:
    """Write a Llama: no biases, a beginning-of-text token, turns that end with one of their own."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    tokenizer.add_special_tokens({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>",
                                  "extra_special_tokens": ["<|start_header_id|>", "<|end_header_id|>"]})  # fmt: skip
    tokenizer.chat_template = LLAMA_TEMPLATE
    return _write(LlamaForCausalLM, LlamaConfig, tokenizer, folder)


def tiny_adapter(base: Path, folder: Path) -> Path:
    """Write an adapter on a tiny model that has learned something; its folder stands for the two together."""
    loaded = load(str(base), precision="float32")
    origin = loaded.origin.model_copy(update={"model": str(base)})
    model = adapt(loaded, Settings(lora_rank=4, lora_alpha=8)).model
    for name, weights in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weights, std=0.02)
    model.save_pretrained(folder)
    seal(folder, origin)
    return folder


def _write(kind, config, tokenizer, folder: Path) -> Path:
    torch.manual_seed(0)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = kind(config(vocab_size=len(tokenizer), tie_word_embeddings=False, **SIZES, **ends))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
