"""The adapter in training: LoRA on all linear layers of a frozen base, attached for a while. Used by `training`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch

from maro_lib.learn.settings import Settings
from maro_lib.model.loading import Loaded, quiet


def adapt(loaded: Loaded, settings: Settings) -> Loaded:
    """Put a fresh LoRA adapter on all linear layers, or make the one that is there trainable; the base stays frozen."""
    from peft import LoraConfig, get_peft_model

    model = loaded.model
    if not loaded.adapter:
        torch.manual_seed(settings.seed)  # what LoRA's A begins as
        config = LoraConfig(
            r=settings.lora_rank, lora_alpha=settings.lora_alpha, lora_dropout=0.0, target_modules="all-linear",
            task_type="CAUSAL_LM",
        )  # fmt: skip
        with quiet():
            model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    _drop_nothing(model)
    if settings.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    return replace(loaded, model=model, adapter=loaded.adapter or "in training")


@contextlib.contextmanager
def adapted(loaded: Loaded, settings: Settings) -> Iterator[Loaded]:
    """The model with an adapter in training, for the time of a `with`; after it, `loaded` is as it was."""
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters() if "lora_" in name}
    learner = adapt(loaded, settings)
    try:
        yield learner
    finally:
        if not loaded.sharded:  # its pieces are in other places by now, and its process ends
            if settings.checkpointing:
                learner.model.gradient_checkpointing_disable()
                learner.model.disable_input_require_grads()
            if loaded.adapter:
                loaded.model.load_state_dict(before, strict=False)
            else:
                learner.model.unload()
            loaded.model.eval()


def _drop_nothing(model: torch.nn.Module) -> None:
    """Switch dropout off, in the base and in an adapter of other making: policy and reference would differ by it."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
