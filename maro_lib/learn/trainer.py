"""The trainer: a `transformers.Trainer` whose step is a list of dialogues, and whose loss is MARO's.

A step is about `batch` dialogues, mixed over factions and outcomes. A forward reads a pack of them, one behind the
other, so that nothing is padded, and what they begin with together once (see `model.pieces`); where a model can't, or
nothing is gained, one dialogue. It gives all their actions; the mean is over the actions of the whole step; z0 is known
before any gradient is taken. Reference log-probs are those that base sampled its words with; where another player did,
they come from the same model with its adapter off, once, before training (see `references`). Used by `training`; taught
in notebook 05.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from maro_lib.learn import loss as losses
from maro_lib.learn.account import ACCOUNT, step_numbers
from maro_lib.learn.corpus import Corpus, crossed, steps
from maro_lib.learn.pairs import paired_steps
from maro_lib.learn.references import load_references, save_references
from maro_lib.learn.rows import Material, Pack, in_packs, make_pack, pack_logps, per_action
from maro_lib.learn.settings import Settings
from maro_lib.learn.tracking import PROJECT, tracked_name
from maro_lib.model.estimates import kept_per_token, shape
from maro_lib.model.head import bare_head, last_mlp
from maro_lib.model.loading import Loaded
from maro_lib.model.pieces import in_pieces, reads_pieces
from maro_lib.runs import short_path, write_atomic
from maro_lib.wording import GB

N_READ = 32  # dialogues that are read to see whether base played them
SAME = 1e-4  # nats a token: the rounding of float32, and no more
KEPT = 2 * GB  # by dialogues together, for the backward pass: on a processor; a longer dialogue is read alone
KEPT_SHARE = 1 / 8  # of a GPU's free memory, likewise
WHOLE = "whole"  # the file that is written last into a checkpoint


class Diverged(RuntimeError):
    """Training went astray; the message says at which step, and how that showed."""


class TrainingError(RuntimeError):
    """Training can't go on; the message says what is wrong, what is safe, and what to do."""


class MaroTrainer(Trainer):
    """A Trainer whose step is a list of sequences of the corpus; `loaded` has its adapter attached.

    `place` says where the reference log-probs of a corpus are kept; without it they are read anew.
    """

    def __init__(
        self, loaded: Loaded, corpus: Corpus, settings: Settings, folder: Path,
        place: Callable[[Corpus, Sequence[int]], Path | None] = lambda *_: None,
    ):  # fmt: skip
        self.loaded, self.settings = loaded, settings
        self.plan = self.steps_of(corpus)
        self.planned = sorted({int(k) for step in self.plan for k in step})  # of a part of an epoch: not everything
        self.material, self.crossed = Material(corpus, place(corpus, self.planned)), None
        if settings.z0 == "mismatched":
            self.crossed = Material(others := crossed(corpus, settings.seed), place(others, self.planned))
        self.numbers: dict[str, float] = {}
        self.seconds = 0.0  # that the present step has taken
        self.head = bare_head(loaded.model)
        self.mlp = last_mlp(loaded.model)
        plan = [{"step": k} for k in range(len(self.plan))]
        arguments = _arguments(loaded, settings, folder, len(plan))
        super().__init__(model=loaded.model, args=arguments, train_dataset=plan, data_collator=lambda x: x[0])
        self.remove_callback(PrinterCallback)
        with self.accelerator.autocast():
            self.in_pieces = reads_pieces(loaded.model)
        at_once = torch.tensor([_tokens_at_once(loaded, settings) * self.in_pieces], device=self.args.device)
        self.at_once = int(self.accelerator.gather(at_once).min())  # the same on all: each must cut as the others do

    # what is read

    def steps_of(self, corpus: Corpus) -> list[np.ndarray]:
        """Plan the sequences of each step."""
        s = self.settings
        return (paired_steps if s.objective == "dpo" else steps)(corpus, s.batch, s.epochs, s.seed)

    def get_train_dataloader(self) -> DataLoader:
        """Every process goes through the same steps, and takes its own sequences of each."""
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=self.data_collator)

    def packs(self, material: Material, sequences: Sequence[int]) -> list[Pack]:
        """This process's share of some sequences, ready to be read; every process gets as many packs."""
        corpus, n_processes, device = material.corpus, self.args.world_size, self.args.device
        n_tokens = sum(len(corpus.ids[k]) for k in sequences)
        at_once = min(self.at_once, n_tokens // n_processes)
        idle = at_once * (device.type != "cpu")  # a processor is busy with one dialogue, a GPU is not
        packs = in_packs(corpus.ids, sequences, at_once, idle)
        packs.sort(key=lambda rows: -sum(len(corpus.ids[k]) for k in rows))  # processes get long and short ones
        mine = packs[self.args.process_index :: n_processes]
        spare = math.ceil(len(packs) / n_processes) - len(mine)
        return [
            *(make_pack(corpus, rows, device) for rows in mine),
            *(make_pack(corpus, packs[-1][:1], device, counts=False) for _ in range(spare)),
        ]

    def read(self, model: torch.nn.Module, pack: Pack) -> torch.Tensor:
        """Log pi of a pack's action tokens, in float64: sums of hundreds, and differences of such sums, follow."""
        again = self.settings.checkpointing and torch.is_grad_enabled()  # computed again, the last MLP would be whole
        with self.compute_loss_context_manager():
            return pack_logps(model, pack, self.head, None if again else self.mlp).double()

    def together(self) -> contextlib.AbstractContextManager:
        """Let the model read packs, if it can; until their gradient is taken, since checkpointing reads again."""
        return in_pieces(self.loaded.model) if self.in_pieces else contextlib.nullcontext()

    def find_references(self, model: torch.nn.Module) -> None:
        """Take the reference log-probs from the dialogues or from where they are kept, or compute and keep them."""
        for material in filter(None, (self.material, self.crossed)):
            if self.take_sampled(model, material):
                continue
            kept = material.kept_at and load_references(material.kept_at, material.corpus.n_action_tokens)
            if self.on_all(kept is not None):
                material.reference = kept
                continue
            self.compute_references(model, material)
            if material.kept_at and self.args.process_index == 0:
                save_references(material.kept_at, material.reference)

    def take_sampled(self, model: torch.nn.Module, material: Material) -> bool:
        """Where base itself played, take what it sampled its words with; a few dialogues are read to see whether."""
        if (sampled := material.corpus.sampled) is None:
            return False
        few = self.planned[:: max(1, len(self.planned) // N_READ)]
        places = material.corpus.token_places(np.concatenate([material.corpus.places[k] for k in few]))
        off = (self.base_logps(model, material, few) - torch.from_numpy(sampled))[places].abs().max()
        if off <= SAME:
            material.reference = torch.from_numpy(sampled)
        return material.reference is not None

    def compute_references(self, model: torch.nn.Module, material: Material) -> None:
        """Read once, with the adapter off, what the plan will read; in packs that no plan decides: all share it."""
        material.reference = self.base_logps(model, material, self.planned)

    def base_logps(self, model: torch.nn.Module, material: Material, sequences: Sequence[int]) -> torch.Tensor:
        """Log pi_ref of the action tokens of some sequences, 0 for all others'; what a process read goes to all."""
        model.eval()
        logps = torch.zeros(material.corpus.n_action_tokens, dtype=torch.float64)
        with self.loaded.base(), self.together(), torch.no_grad():
            for pack in self.packs(material, sequences):
                read = self.read(model, pack).cpu()
                if pack.n:
                    logps[material.tokens_of(pack)] = read
        return self.accelerator.reduce(logps.to(self.args.device), "sum").cpu()

    # what is learned

    def training_step(self, model: torch.nn.Module, inputs: dict[str, int], _n_items: object = None) -> torch.Tensor:
        """Take the gradient of one whole step: the mean over all its actions, on all processes."""
        began = time.perf_counter()
        if self.material.reference is None:
            self.find_references(model)
        sequences = self.plan[inputs["step"]]
        n_actions = sum(len(self.material.corpus.places[k]) for k in sequences)
        model.train()
        packs, total = self.packs(self.material, sequences), torch.zeros((), device=self.args.device)
        with self.together():
            z0, seen = self.reference_point(model, sequences, packs), []
            for k, pack in enumerate(packs):
                alone = contextlib.nullcontext() if k == len(packs) - 1 else self.accelerator.no_sync(model)
                with alone, self.uncopied(model):
                    loss, account = self.pack_loss(model, pack, z0)
                    share = loss * pack.n / n_actions * self.args.world_size  # processes are averaged
                    self.accelerator.backward(share)
                seen.append(account[: pack.n])
                total += share.detach()
        self.keep_account(torch.cat(seen), z0)
        self.numbers["tokens"] = float(sum(len(self.material.corpus.ids[k]) for k in sequences))
        self.seconds += time.perf_counter() - began
        return total

    def uncopied(self, model: torch.nn.Module) -> contextlib.AbstractContextManager:
        """Keep PEFT from copying what its layers are given into float32, where autocast copies it back to bfloat16."""
        from peft.helpers import disable_input_dtype_casting

        return disable_input_dtype_casting(model, active=self.settings.half)

    def pack_loss(self, model: torch.nn.Module, pack: Pack, z0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The mean loss of a pack's actions, and their account: a row (action, r, loss, slope, kl) for each."""
        s, m, at = self.settings, self.material, pack.actions
        tokens, reference = self.read(model, pack), m.reference_of(pack)
        z0 = z0[at.to(z0.device)] if z0.ndim else z0
        if not all(torch.isfinite(x).all() for x in (tokens, z0)):  # the gradient tells all processes, which then stop
            nothing = tokens.new_full((len(at), len(ACCOUNT) - 1), math.nan)
            return tokens.sum() * math.nan, torch.cat((at[:, None].to(nothing), nothing), dim=1)
        logp, logp_ref = per_action(tokens, pack), per_action(reference, pack)
        desirable, weight = (x[at].to(logp.device) for x in (m.desirable, m.weight))
        loss, parts = losses.maro_loss(
            logp, logp_ref, desirable, weight, beta=s.beta, z0=z0, lam_pos=s.lam_pos, lam_neg=s.lam_neg
        )
        if s.objective == "sft":
            loss = losses.sft_loss(logp, desirable, weight, lam_pos=s.lam_pos)
        if s.objective == "dpo":
            loss = losses.dpo_loss(logp, logp_ref, z0, desirable, beta=s.beta)
        if s.objective == "policy_gradient":
            loss = losses.policy_gradient_loss(logp, desirable, weight)
        if s.anchor:
            loss = loss + s.anchor * losses.anchor_loss(logp)
        gap = (tokens - reference).detach()
        kl = per_action(gap.exp() - 1 - gap, pack)
        return loss, torch.stack((at.to(logp), *parts, kl), dim=1)

    # where z0 is

    def reference_point(self, model: torch.nn.Module, sequences: Sequence[int], packs: list[Pack]) -> torch.Tensor:
        """z0 of this step, one number or one per action; all but a number and a running mean need another look.

        Under DPO it is what the other half of the action's pair has made of it: that is what each is compared with.
        """
        s, m = self.settings, self.material
        if s.objective == "dpo":
            action, r = self.look(model, m, packs)
            return m.each(action, r).view(-1, 2).flip(1).flatten()
        if s.z0 == "fixed":
            return losses.fixed(s.z0_fixed)
        if s.z0 == "ema" and (earlier := [h["z0_next"] for h in self.state.log_history if "z0_next" in h]):
            return torch.tensor(earlier[-1], dtype=torch.float64)
        if s.z0 == "mismatched":
            return losses.mismatched(self.look(model, self.crossed, self.packs(self.crossed, sequences))[1])
        action, r = self.look(model, m, packs)
        if s.z0 == "per_faction":
            faction = m.faction.to(r.device)[action]
            return m.each(action, losses.per_faction(r, faction)[faction])
        return losses.clamped(r) if s.z0 == "clamped" else losses.batch(r)

    def look(self, model: torch.nn.Module, material: Material, packs: list[Pack]) -> tuple[torch.Tensor, torch.Tensor]:
        """The actions of a step, on all processes, and their r, without a gradient: (n_actions,) each."""
        pairs = []
        with torch.no_grad():
            for pack in packs:
                r = per_action(self.read(model, pack) - material.reference_of(pack), pack)
                pairs.append(torch.stack((pack.actions.to(r), r), dim=1)[: pack.n])
        action, r = self.gathered(torch.cat(pairs)).T
        return action.long(), r

    # the account

    def on_all(self, here: bool) -> bool:
        """Whether something holds on all processes."""
        n = self.accelerator.reduce(torch.tensor(float(here), device=self.args.device), "sum")
        return int(n) == self.args.world_size

    def gathered(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, which may have different numbers of them; the first column is never NaN."""
        if self.args.world_size == 1:
            return rows
        rows = self.accelerator.gather(self.accelerator.pad_across_processes(rows, pad_index=math.nan))
        return rows[~rows[:, 0].isnan()]

    def keep_account(self, rows: torch.Tensor, z0: torch.Tensor) -> None:
        """Keep a step's numbers for the log, and where the running mean goes from here."""
        rows, m = self.gathered(rows), self.material
        actions = rows[:, 0].long().cpu()
        factions = m.faction[actions].unique()  # a step may have actions of one alone
        groups = [actions[m.faction[actions] == k].to(z0.device) for k in factions]
        of_faction = torch.stack([z0[own].mean() for own in groups]) if z0.ndim else z0
        mean_z0 = of_faction.double().mean()
        z0_next = losses.ema(mean_z0, rows[:, 1], self.settings.z0_decay)
        self.numbers = step_numbers(rows, m.corpus.actions)
        self.numbers |= {"z0": float(mean_z0), "z0_next": float(z0_next)}
        if z0.ndim:
            self.numbers |= {f"z0/{m.factions[int(k)]}": float(v) for k, v in zip(factions, of_faction, strict=True)}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        told = {**logs, **self.numbers, "seconds": self.seconds} if "loss" in logs else logs
        super().log(told, start_time)
        self.seconds = 0.0

    def floating_point_ops(self, inputs: object) -> int:  # noqa: ARG002 - the Trainer's; it would look for token ids
        return 0

    # what is saved

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        """Save a checkpoint, and mark it as whole at the end: one without the mark was interrupted."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        self.check_weights()
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            whole = whole_checkpoints(folder.parent)
            safe = f"{whole[-1].name} is safe" if whole else "there is no earlier one"
            raise TrainingError(
                f"{short_path(folder)}: can't be written ({str(error).splitlines()[0]}); {safe}. "
                "Free some space and run the same command again: it goes on from there"
            ) from None
        self.accelerator.wait_for_everyone()  # each process writes a part of it
        if self.args.should_save:
            write_atomic(folder / WHOLE, "")
            for old in whole_checkpoints(folder.parent)[: -self.settings.n_checkpoints]:
                (old / WHOLE).unlink()  # first: what is half removed is no checkpoint
                shutil.rmtree(old)

    def check_weights(self) -> None:
        """Raise, on all processes, if one of them holds a weight that is not a finite number: it is not to be kept."""
        learned = [p for p in self.model.parameters() if p.requires_grad]
        n_bad = sum(not torch.isfinite(p).all() for p in learned)
        if self.accelerator.reduce(torch.tensor(float(n_bad), device=self.args.device), "sum") > 0:
            raise Diverged(f"step {self.state.global_step}: a weight is not a finite number")

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Save the adapter alone: the Trainer would add its arguments as a pickle."""
        if self.args.should_save:
            self.model.save_pretrained(output_dir or self.args.output_dir, state_dict=state_dict)


def whole_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder that were written to their end, oldest first."""
    found = [p for p in Path(folder).glob("checkpoint-*") if (p / WHOLE).exists()]
    return sorted(found, key=lambda p: int(p.name.split("-")[1]))


def _tokens_at_once(loaded: Loaded, settings: Settings) -> int:
    """How many tokens are read together: as many as keep a bounded part of the memory for the backward pass."""
    cuda, config = loaded.device.type == "cuda", loaded.model.config
    kept = KEPT_SHARE * torch.cuda.mem_get_info(loaded.device)[0] if cuda else KEPT
    compute = 2 if settings.half else loaded.model.dtype.itemsize
    return int(kept / kept_per_token(shape(config), settings.lora_rank, compute, checkpointing=settings.checkpointing))


def _arguments(loaded: Loaded, settings: Settings, folder: Path, n_steps: int) -> TrainingArguments:
    plain = is_on_cpu(loaded) or loaded.sharded  # FSDP can't save the state of an 8-bit optimiser
    auto = "adamw_torch" if plain else "paged_adamw_8bit"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,  # the plan holds all of them
        per_device_train_batch_size=1,  # a step of the plan
        learning_rate=settings.learning_rate,
        warmup_steps=int(settings.warmup * n_steps),  # rounded down: of a few steps none is spent on standing still
        lr_scheduler_type="linear",
        max_grad_norm=settings.max_grad_norm,
        optim=auto if settings.optimiser == "auto" else settings.optimiser,
        use_cpu=is_on_cpu(loaded),
        bf16=settings.half,
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.check_every,
        seed=settings.seed,
        report_to=[*settings.report_to],
        project=PROJECT,
        run_name=tracked_name(folder),
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several are used by several processes, never by DataParallel
    return arguments


def is_on_cpu(loaded: Loaded) -> bool:
    """Whether it trains there; a model that is to be sharded only starts there."""
    return loaded.device.type == "cpu" and not loaded.sharded
