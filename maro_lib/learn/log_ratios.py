"""Credit by an adapter: how much likelier it makes each recorded action than its base does.

    r(a) = log pi_phi(a | h) - log pi_base(a | h)    summed over the action's tokens

OPRL / iStar (arXiv 2509.19199) takes this of a model that was fitted by DPO on won and lost play, as the reward of a
step: `objective: dpo` of notebook 05 makes such an adapter. The rule `implicit` fits a model on features by itself, and
takes these in its place where they are given as its `values`:

    values = log_ratios(load("embedded", adapter="outputs/dpo/learning/adapter"), dialogues, actions)
    decompose(actions, "implicit", values=values)

They do not sum to the outcome. An adapter that has read the very games that it judges knows how they ended: fit it on
other mysteries.
"""

from __future__ import annotations

import pandas as pd
import torch

from maro_lib.learn.corpus import ACTION, Corpus, make_corpus
from maro_lib.learn.rows import make_pack, pack_logps, per_action
from maro_lib.model.chat import Chat
from maro_lib.model.loading import Loaded
from maro_lib.play.tables import require


def log_ratios(loaded: Loaded, dialogues: pd.DataFrame, actions: pd.DataFrame, *, window: int = 0) -> pd.Series:
    """Return r of each action, on the index of `actions`; NaN where its dialogue is not there or outgrows the window.

    `dialogues` and `actions` are a run's tables; `loaded` carries the adapter.
    """
    if not loaded.adapter:
        raise ValueError(
            f"log_ratios: {loaded.name!r} carries no adapter, and a log-ratio is an adapter's to its base. Train one "
            "by DPO (notebook 05, `objective: dpo`), then give load(model, adapter=its folder); or take the rule "
            "`implicit` without values: it fits a model on features"
        )
    require(actions, [*ACTION, "faction", "success"], "log_ratios")
    known = actions.assign(desirable=True, weight=1.0)  # labels play no part
    corpus = make_corpus(dialogues, known, window=window, chat=Chat(loaded.tokenizer))
    found = [_of_sequence(loaded, corpus, row) for row in range(len(corpus))]
    r = torch.cat(found).numpy() if found else []
    by_action = pd.Series(r, pd.MultiIndex.from_frame(corpus.actions[[*ACTION]]), dtype="float64")
    return pd.Series(by_action.reindex(pd.MultiIndex.from_frame(actions[[*ACTION]])).to_numpy(), actions.index,
                     name="log_ratio")  # fmt: skip


def _of_sequence(loaded: Loaded, corpus: Corpus, row: int) -> torch.Tensor:
    """Return r of a sequence's actions, in their order."""
    pack = make_pack(corpus, [row], loaded.device)
    with torch.no_grad():
        logp = pack_logps(loaded.active(), pack).double()
        with loaded.base() as base:
            logp_ref = pack_logps(base, pack).double()
    return per_action(logp - logp_ref, pack).cpu()
