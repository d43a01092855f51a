"""lm-evaluation-harness on the model in memory: one task, one row per item.

The harness decides what is asked and what is right. Here stands what it leaves open: which adapter answers, where the
items come from, how long a reply may be, which of its measures counts, and what became of prompts and replies that did
not fit. Its chatter goes into a log file. Importing it takes seconds, so only `transfer` does. Taught in notebook 07.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lm_eval
import torch
from jinja2 import UndefinedError
from lm_eval import evaluator
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from maro_lib.fingerprints import digest
from maro_lib.model.loading import Loaded
from maro_lib.runs import ROOT
from maro_lib.study.evaldata import MEND, OWN, DataError, ItemFiles, item_files
from maro_lib.wording import first_line, nearest

HARNESS = Path(lm_eval.__file__).with_name("tasks")
EVALS = Path(__file__).with_name("evals")  # this kit's own tasks
# what makes and scores them
DECIDING = ("embedded/tasks.py", "study/scenes.py", "study/words/scenes.yaml", "study/beliefs.py",
            "study/words/beliefs.yaml", "study/evaldata.py")  # fmt: skip
FOLDERS = {"gsm8k": "gsm8k", "minerva_math500": "minerva_math", "hendrycks_math500": "hendrycks_math",
           "ifeval": "ifeval", "mmlu": "mmlu/default", "truthfulqa": "truthfulqa",
           "sycophancy": "model_written_evals/sycophancy"}  # fmt: skip  # to look through all takes half a minute
SCORES = ("right", "math_verify", "prompt_level_strict_acc", "exact_match", "acc", "bleu_acc")  # the first there is
FILTER = "flexible-extract"  # where a task looks for its answer in several ways
WORSE = ("sycophancy",)  # tasks whose measure counts what is bad: agreeing with whoever asks


class TaskError(RuntimeError):
    """A task can't be run; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Limits:
    """How much is asked, and how long a reply may be."""

    items: int = 0  # of each task (of each subject, where it has several); 0: all
    reply: int = 256  # tokens
    batch: int = 64
    seed: int = 0  # which examples are shown before a question, where a task shows some


@dataclass(frozen=True)
class Answering:
    """A model that is evaluated: its weights with an adapter, or without."""

    loaded: Loaded
    adapter: bool = True

    @contextlib.contextmanager
    def model(self) -> Iterator[torch.nn.Module]:
        with contextlib.nullcontext(self.loaded.active()) if self.adapter else self.loaded.base() as model:
            yield model

    @cached_property
    def fingerprint(self) -> str:
        """What decides its answers; base's does not depend on which adapter is attached."""
        loaded = self.loaded if self.adapter else replace(self.loaded, slot="none of them")
        return f"{loaded.name} {loaded.precision} {loaded.fingerprint}"


class InMemory(HFLM):
    """The harness's wrapper of a model, with a note of which replies came to no end."""

    def __init__(self, model: torch.nn.Module, tokenizer, batch: int):
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=batch)
        stop = model.generation_config.eos_token_id
        self.ends = {tokenizer.eos_token_id, *(stop if isinstance(stop, list) else [stop])}
        self.endless: set[tuple[int, ...]] = set()  # prompts, as token ids

    def _model_generate(self, context, max_length, stop, **how) -> torch.Tensor:
        made = super()._model_generate(context, max_length, stop, **how)
        for ids, mask, said in zip(context, how["attention_mask"], made[:, context.shape[1] :], strict=True):
            reply = said.tolist()
            if not self.ends & set(reply) and not any(s and s in self.tok_decode(reply) for s in stop):
                self.endless.add(tuple(ids[mask.bool()].tolist()))
        return made

    def tok_decode(self, tokens, skip_special_tokens: bool = True) -> str:
        """Decode a reply up to its end, special tokens and all: what the harness would drop is what was said."""
        if isinstance(tokens, list):
            end = next((k for k, token in enumerate(tokens) if token in self.ends), len(tokens))
            tokens, skip_special_tokens = tokens[:end], False
        return super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)

    def tokens(self, prompt: str, room: int) -> tuple[tuple[int, ...], bool]:
        """Return a prompt as the model reads it when a reply has so much room, and whether its beginning is lost."""
        ids, most = self.tok_encode(prompt), self.max_length - room
        return tuple(ids[-most:]), len(ids) > most


@dataclass(frozen=True)
class Harness:
    """What can be asked: the harness's tasks and this kit's own, with their items from folders or the hub."""

    tasks: tuple[str, ...]  # all that will be asked for
    own: Path  # the folder with the items of this kit's tasks
    data: Path | None = None  # a folder with the items of the others; None: the hub
    log: Path | None = None  # where the harness's own messages go
    _loaded: dict[str, dict[str, Task]] = field(default_factory=dict)

    @cached_property
    def manager(self) -> TaskManager:
        """The index of tasks: of the folders where they should be, or of all."""
        folders = [HARNESS / at for name, at in FOLDERS.items() if any(t.startswith(name) for t in self.tasks)]
        narrow = TaskManager(include_path=[*dict.fromkeys(folders), EVALS], include_defaults=False)
        found = all(task in narrow.task_index for task in self.tasks)
        return narrow if found else TaskManager(include_path=EVALS)

    def leaves(self, task: str) -> list[str]:
        """Return the single tasks that a name stands for, in order."""
        entry = self.manager.task_index.get(task)
        if entry is None:
            raise TaskError(f"{task}: there is no such task{nearest(task, self.manager.all_tasks)}")
        if entry.kind.name == "TAG":
            return sorted(entry.tags)
        if entry.kind.name != "GROUP":
            return [task]
        members = (m if isinstance(m, str) else m.get("task") for m in entry.cfg["task"])
        return [leaf for member in members for leaf in self.leaves(str(member))]

    def sources(self, task: str) -> dict[str, ItemFiles | None]:
        """Find where each single task's items lie: None for the hub. A missing file is an error that names it."""
        return {leaf: self._source(leaf) for leaf in self.leaves(task)}

    def definition(self, task: str) -> str:
        """What decides a task's questions and its score, besides its items."""
        package = ROOT / "maro_lib"
        own = [*sorted(EVALS.iterdir()), *(package / name for name in DECIDING)]
        return digest(own, package) if (EVALS / f"{task}.yaml").exists() else f"lm_eval {version('lm_eval')}"

    def load(self, task: str) -> dict[str, Task]:
        """Load the single tasks of a name with their items, once; whatever is missing is an error that says what."""
        if task not in self._loaded:
            with self._quiet():
                self._loaded[task] = {leaf: self._load(leaf, at) for leaf, at in self.sources(task).items()}
        return self._loaded[task]

    def lacks(self, task: str) -> str:
        """Say why a task can't be asked here, and how to get what it lacks; nothing if it can."""
        try:
            self.load(task)
        except (DataError, TaskError) as error:
            return str(error)
        return ""

    def evaluate(self, task: str, answering: Answering, limits: Limits) -> list[dict[str, Any]]:
        """Ask a model all items of a task; return a row for each."""
        single = self.load(task)
        for one in single.values():
            one.set_fewshot_seed(seed=limits.seed)
            if one.get_config("output_type") == "generate_until":
                one.set_config(key="generation_kwargs", value={"max_gen_toks": limits.reply}, update=True)
        with self._quiet(), answering.model() as model:
            lm = InMemory(model, answering.loaded.tokenizer, limits.batch)
            found = evaluator.evaluate(
                lm, {"tasks": single}, limit=limits.items or None, bootstrap_iters=0, log_samples=True,
                apply_chat_template=True, fewshot_as_multiturn=True,
            )  # fmt: skip
        by_leaf = {leaf: rows(samples, lm, limits.reply, task) for leaf, samples in found["samples"].items()}
        if len(by_leaf) > 1:  # then the subject is the level
            by_leaf = {leaf: [row | {"level": leaf.removeprefix(f"{task}_")} for row in of_leaf]
                       for leaf, of_leaf in by_leaf.items()}  # fmt: skip
        return [row | {"task": task} for of_leaf in by_leaf.values() for row in of_leaf]

    def _config(self, leaf: str, *, functions: bool) -> dict[str, Any]:
        return load_yaml(self.manager.task_index[leaf].yaml_path, resolve_func=functions)

    def _source(self, leaf: str) -> ItemFiles | None:
        config = self._config(leaf, functions=False)
        folder = self.own if config.get("dataset_path") == OWN else self.data
        if folder is None or "dataset_path" not in config:  # a task that is a program fetches its own items
            return None
        return item_files(folder, config["dataset_path"], config.get("dataset_name"), _splits(config), leaf)

    def _load(self, leaf: str, at: ItemFiles | None) -> Task:
        try:
            self._check_nltk(leaf)
            config = self._config(leaf, functions=True)
            config |= {"custom_dataset": at, "dataset_kwargs": None} if at else {}
            task = self.manager.load([config])["tasks"][leaf]
        except (ImportError, AssertionError) as error:
            raise TaskError(f"{leaf}: needs packages that are not here: {first_line(error)}. Install this kit's extra: "
                            "pip install -e '.[evals]'") from error  # fmt: skip
        except DataError:
            raise
        except (OSError, ValueError, KeyError, UndefinedError) as error:
            if at:
                lacks = isinstance(error, KeyError | UndefinedError)  # others quote items
                raise DataError(f"{leaf}: its items are not as it wants them{f' (lacks: {error})' if lacks else ''}; "
                                f"they were read from {at}. {MEND}") from None  # fmt: skip
            where = config.get("dataset_path", "that it names itself")
            raise DataError(f"{leaf}: its data set {where} can't be fetched from the hub: {first_line(error)}. "
                            f"Offline, set `eval_data` to a folder that holds {where}") from error  # fmt: skip
        if task.get_config("num_fewshot") is None:
            task.set_config(key="num_fewshot", value=0)
        return task

    def _check_nltk(self, leaf: str) -> None:
        """IFEval counts sentences by a table of NLTK's, which is not part of the package."""
        if leaf != "ifeval":
            return
        try:
            import nltk

            if self.data and str(self.data / "nltk_data") not in nltk.data.path:
                nltk.data.path.insert(0, str(self.data / "nltk_data"))
            nltk.data.find("tokenizers/punkt_tab")
        except LookupError as error:
            at = (self.data or Path("<eval_data>")) / "nltk_data" / "tokenizers" / "punkt_tab"
            raise DataError(
                f"{leaf}: NLTK's punkt_tab is missing. With a network: python -m nltk.downloader punkt_tab. Offline, "
                f"copy that folder from another machine to {at}"
            ) from error

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Send what the harness prints (bars, warnings) into the log."""
        with (
            open(self.log or os.devnull, "a", encoding="utf-8") as file,
            contextlib.redirect_stderr(file),
            contextlib.redirect_stdout(file),
        ):
            yield


def rows(samples: Sequence[Mapping[str, Any]], lm: InMemory, room: int, task: str) -> list[dict[str, Any]]:
    """Return one row per item from what the harness logged."""
    filters = {sample["filter"] for sample in samples}
    chosen = FILTER if FILTER in filters else samples[0]["filter"]
    seen: Counter[str] = Counter()
    made = []
    for sample in (s for s in samples if s["filter"] == chosen):
        seen[sample["doc_hash"]] += 1
        generated = isinstance(sample["resps"][0][0], str)
        ids, shortened = lm.tokens(sample["arguments"][0][0], room if generated else 0)
        made.append({
            "item": f"{sample['doc_hash'][:16]}/{seen[sample['doc_hash']]}",  # some data sets hold an item twice
            "level": str(sample["doc"].get("level", "")), "scene": sample["doc"].get("scene"),
            "right": _right(sample, task), "misled": sample.get("misled"), "reply": _reply(sample, generated),
            "cut_off": generated and ids in lm.endless, "shortened": shortened,
        })  # fmt: skip
    return made


def _right(sample: Mapping[str, Any], task: str) -> int:
    name = next((m for m in SCORES if m in sample), "")
    if not name or (value := float(sample[name])) not in (0, 1):
        raise TaskError(f"{task}: has no measure that says of each item whether it was right; leave it out")
    return int(1 - value if task.startswith(WORSE) else value)


def _reply(sample: Mapping[str, Any], generated: bool) -> str:
    """Return what was said, or the choice that was likeliest."""
    if generated:
        return sample["resps"][0][0]
    likelihoods = [given[0][0] for given in sample["resps"]]
    return sample["arguments"][likelihoods.index(max(likelihoods))][1]


def _splits(config: Mapping[str, Any]) -> list[str]:
    """Return the splits that the harness reads: the one to score on, and the one to take examples from."""
    shown = config.get("fewshot_config") or {}
    scored = config.get("test_split") or config.get("validation_split")
    examples = config.get("fewshot_split") or shown.get("split")
    if not examples and "samples" not in shown:
        examples = config.get("training_split") or config.get("validation_split")
    return [split for split in dict.fromkeys((scored, examples)) if split]
