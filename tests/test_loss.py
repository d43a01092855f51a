"""The loss on numbers worked out by hand, beside TRL's, and what must hold for any actions."""

import ast
import sys
from pathlib import Path

import pytest
import torch
from closeness import LOGP, SHARE, near
from hypothesis import given, settings
from hypothesis import strategies as st
from trl_trainers import trl_trainer

from maro_lib.learn import loss as losses
from maro_lib.learn.loss import (
    anchor_loss,
    batch,
    clamped,
    dpo_loss,
    ema,
    fixed,
    maro_loss,
    mismatched,
    per_faction,
    policy_gradient_loss,
    sft_loss,
)


def numbers(*values, **options):
    return torch.tensor(values, **{"dtype": torch.float64} | options)


def three(**changed):
    """Three actions as arguments: beta (r - z0) is ln 3, ln 4 and -ln 9, so the sigmoids are simple fractions."""
    given = {
        "logp": numbers(-6.802775422664, -16.227411277760, -8.394449154672),
        "logp_ref": numbers(-10.0, -20.0, -5.0),
        "desirable": torch.tensor([True, False, True]),
        "weight": numbers(1.0, 2.0, 0.5),
        "beta": 0.5, "z0": 1.0, "lam_pos": 1.5, "lam_neg": 2.0,
    }  # fmt: skip
    return given | changed


def gradient(logp, *args, **options):
    """The loss's gradient by logp."""
    logp = logp.detach().clone().requires_grad_()
    loss, _ = maro_loss(logp, *args, **options)
    return torch.autograd.grad(loss, logp)[0]


# --- the loss on paper -------------------------------------------------------------------------------


def test_loss_and_gradient_on_paper():
    # s = sigmoid(+-beta (r - z0)) = 3/4, 1/5 (undesirable), 1/10
    # w (lambda - lambda s) = 1 (1.5 - 1.125), 2 (2 - 0.4), 0.5 (1.5 - 0.15); their mean is 4.25 / 3
    loss, parts = maro_loss(**three())
    assert float(loss) == pytest.approx(1.4166666667, abs=1e-9)
    assert parts.r.tolist() == pytest.approx([3.197224577336, 3.772588722240, -3.394449154672], abs=1e-9)
    assert parts.loss.tolist() == pytest.approx([0.375, 3.2, 0.675], abs=1e-9)
    # 4 s (1 - s) = 4 * 3/16, 4 * 4/25, 4 * 9/100
    assert parts.slope.tolist() == pytest.approx([0.75, 0.64, 0.36], abs=1e-9)
    # -+ w lambda beta s (1 - s) / 3: the likelier a desirable action the lower the loss, an undesirable the higher
    expected = [-0.046875, 0.1066666667, -0.01125]
    assert gradient(**three()).tolist() == pytest.approx(expected, abs=1e-9)


def test_where_policy_and_reference_agree_an_action_costs_half_its_weight():
    # r = z0 = 0: s = 1/2
    same = numbers(-3.0, -7.0)
    loss, parts = maro_loss(same, same, torch.tensor([True, False]), numbers(1.0, 3.0), beta=0.2, z0=0.0, lam_neg=2.0)
    assert parts.loss.tolist() == [0.5, 3.0]
    assert float(loss) == 1.75
    assert parts.slope.tolist() == [1.0, 1.0]


def test_parts_carry_no_gradient():
    logp = three()["logp"].requires_grad_()
    loss, parts = maro_loss(**three(logp=logp))
    assert loss.requires_grad
    assert not any(part.requires_grad for part in parts)


def test_labels_may_be_ones_and_zeros():
    as_numbers = maro_loss(**three(desirable=torch.tensor([1, 0, 1])))[0]
    assert float(as_numbers) == pytest.approx(1.4166666667, abs=1e-9)


def test_imitation_reads_the_desirable_actions_only():
    # -1.5 (1 * -1 + 0 + 0.5 * -3) / 3
    logp = numbers(-1.0, -2.0, -3.0, requires_grad=True)
    given = logp, torch.tensor([True, False, True]), numbers(1.0, 2.0, 0.5)
    loss = sft_loss(*given, lam_pos=1.5)
    assert loss.item() == pytest.approx(1.25) == pytest.approx(1.5 * sft_loss(*given).item())
    assert torch.autograd.grad(loss, logp)[0].tolist() == pytest.approx([-0.5, 0.0, -0.25])


def test_a_pair_of_dpo_on_paper():
    # beta (r_win - r_lose) = 0.5 (1 - -1) = 1 and 0.5 (2 - 4) = -1; -log sigmoid: 0.313262 and 1.313262
    logp, ref = numbers(-4.0, -6.0, -8.0, -1.0, requires_grad=True), numbers(-5.0, -5.0, -10.0, -5.0)
    desirable, other = torch.tensor([True, False, True, False]), numbers(-1.0, 1.0, 4.0, 2.0)
    loss = dpo_loss(logp, ref, other, desirable, beta=0.5)
    assert loss.item() == pytest.approx((0.3132616875 + 1.3132616875) / 2)
    # -+ beta sigmoid(-margin) / 2 pairs = 0.5 * 0.268941 / 2 and 0.5 * 0.731059 / 2
    expected = [-0.0672353554, 0.0672353554, -0.1827646446, 0.1827646446]
    assert torch.autograd.grad(loss, logp)[0].tolist() == pytest.approx(expected)


def test_a_policy_gradient_on_paper():
    # -(2 * -1 - 0.5 * -3 + 0 * -2) / 3, and -A / 3
    logp = numbers(-1.0, -3.0, -2.0, requires_grad=True)
    loss = policy_gradient_loss(logp, torch.tensor([True, False, False]), numbers(2.0, 0.5, 0.0))
    assert loss.item() == pytest.approx(0.5 / 3)
    assert torch.autograd.grad(loss, logp)[0].tolist() == pytest.approx([-2 / 3, 0.5 / 3, 0.0])


def test_the_anchor_holds_every_action():
    logp = numbers(-1.0, -2.0, -6.0, requires_grad=True)
    loss = anchor_loss(logp)
    assert loss.item() == 3.0
    assert torch.autograd.grad(loss, logp)[0].tolist() == pytest.approx([-1 / 3, -1 / 3, -1 / 3])


# --- the reference point -----------------------------------------------------------------------------


UP, DOWN = numbers(1.0, -2.0, 4.0), numbers(-1.0, -2.0, 0.0)  # means 1 and -1
Z0 = {
    "fixed is the number": (fixed(-0.3), -0.3),
    "or 0": (fixed(), 0.0),
    "batch is the mean": (batch(UP), 1.0),
    "also below 0": (batch(DOWN), -1.0),
    "clamped is the mean": (clamped(UP), 1.0),
    "but never below 0": (clamped(DOWN), 0.0),
    "ema moves by its share": (ema(2.0, UP), 1.9),  # 0.9 * 2 + 0.1 * 1
    "however large the step's mean": (ema(2.0, 3 * UP), 2.1),
    "that is given": (ema(numbers(2.0)[0], UP, decay=0.5), 1.5),
    "or none": (ema(2.0, UP, decay=1.0), 2.0),
    "or all": (ema(2.0, UP, decay=0.0), 1.0),
    "mismatched is KTO's": (mismatched(UP), 1.0),
    "so never below 0": (mismatched(DOWN), 0.0),
    "a mean is taken in double precision": (batch(torch.tensor([2**24, 1.0, 1.0])), 16777218 / 3),  # no float32
}


@pytest.mark.parametrize(("z0", "expected"), Z0.values(), ids=Z0.keys())
def test_z0_by_hand(z0, expected):
    assert float(z0) == pytest.approx(expected, rel=1e-12)


def test_per_faction_z0_is_each_factions_own_mean():
    # faction 0: 1, -4; faction 1: 2, 6; nobody of faction 2 is there; faction 3: 5
    z0 = per_faction(numbers(1.0, 2.0, 6.0, -4.0, 5.0), torch.tensor([0, 1, 1, 0, 3]))
    assert z0.tolist() == [-1.5, 4.0, 0.0, 5.0]


FACTION = torch.tensor([0, 1, 1])
ESTIMATORS = {
    "fixed": lambda r: fixed(0.3),
    "batch": batch,
    "clamped": clamped,
    "ema": lambda r: ema(0.5, r),
    "per_faction": lambda r: per_faction(r, FACTION)[FACTION],
    "mismatched": mismatched,
}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_gradient_flows_through_z0(estimator):
    logp = three()["logp"].requires_grad_()
    z0 = ESTIMATORS[estimator](logp - three()["logp_ref"])
    assert not z0.requires_grad
    found = torch.autograd.grad(maro_loss(**three(logp=logp, z0=z0))[0], logp)[0]
    assert torch.equal(found, gradient(**three(z0=numbers(*z0.tolist()) if z0.ndim else float(z0))))


def test_no_gradient_flows_through_z0_that_is_still_tied_to_the_policy():
    logp = three()["logp"].requires_grad_()
    z0 = (logp - three()["logp_ref"]).mean()
    found = torch.autograd.grad(maro_loss(**three(logp=logp, z0=z0))[0], logp)[0]
    assert torch.equal(found, gradient(**three(z0=z0.item())))


def test_no_gradient_flows_through_the_reference():
    logp, logp_ref = (three()[name].requires_grad_() for name in ("logp", "logp_ref"))
    maro_loss(**three(logp=logp, logp_ref=logp_ref))[0].backward()
    assert logp.grad is not None
    assert logp_ref.grad is None


# --- extremes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [0.1, 10.0])
def test_extreme_log_ratios_stay_finite(dtype, beta):
    # likelier by e^10000: all right if desirable, all wrong if not
    logp = torch.tensor([1e4, -1e4, 1e4, -1e4], dtype=dtype)
    rest = torch.zeros(4, dtype=dtype), torch.tensor([1, 1, 0, 0]), torch.ones(4, dtype=dtype)
    assert maro_loss(logp, *rest, beta=beta, z0=0.0)[1].loss.tolist() == pytest.approx([0, 1, 1, 0], abs=1e-9)
    assert gradient(logp, *rest, beta=beta, z0=0.0).tolist() == pytest.approx([0, 0, 0, 0], abs=1e-9)


NONE = numbers()
WRONG = {
    "no action": ({"logp": NONE, "logp_ref": NONE, "desirable": NONE, "weight": NONE}, r"logp: \(0,\)"),
    "a table": ({"logp": torch.zeros(2, 3)}, r"logp: \(2, 3\).*one number for each"),
    "a number": ({"logp": torch.tensor(1.0)}, r"logp: \(\)"),
    "a short reference": ({"logp_ref": numbers(1.0, 2.0)}, r"logp_ref: \(2,\) given for 3 actions"),
    "a reference of a number": ({"logp_ref": torch.tensor(1.0)}, r"logp_ref: \(\) given for 3 actions"),
    "a label too many": ({"desirable": torch.ones(4)}, r"desirable: \(4,\) given for 3 actions"),
    "a column of weights": ({"weight": torch.ones(3, 1)}, r"weight: \(3, 1\) given for 3 actions"),
    "a z0 per faction": ({"z0": numbers(0.1, 0.2)}, r"z0: \(2,\) given for 3 actions; one number, or one for each"),
    "a z0 in brackets": ({"z0": numbers(0.1)}, r"z0: \(1,\)"),
    "a policy that broke": ({"logp": numbers(-1.0, torch.nan, -2.0)}, "logp: 1 of 3 are not finite"),
    "an impossible action": ({"logp": numbers(-1.0, -torch.inf, -torch.inf)}, "logp: 2 of 3 are not finite"),
    "a reference that broke": ({"logp_ref": numbers(torch.nan, 1.0, 1.0)}, "logp_ref: 1 of 3 are not finite"),
    "an endless weight": ({"weight": numbers(1.0, torch.inf, 1.0)}, "weight: 1 of 3 are not finite"),
    "a z0 of nothing": ({"z0": batch(NONE)}, "z0: 1 of 1 are not finite"),
    "a signed weight": ({"weight": numbers(1.0, -1.0, 1.0)}, "weight: some are negative; the class stands in"),
    "no beta": ({"beta": 0.0}, "beta 0.0, .* are needed"),
    "a beta that turns sides": ({"beta": -1.0}, "beta -1.0, .* are needed"),
    "winners that cost": ({"lam_pos": -1.0}, ".* lam_pos -1.0, .* are needed"),
    "losers that cost": ({"lam_neg": -0.5}, ".* lam_neg -0.5: .* are needed"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_named(changed, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        maro_loss(**three(**changed))


# --- laws --------------------------------------------------------------------------------------------

log_prob, offset = st.floats(-50, 0), st.floats(-20, 20)
betas, lambdas = st.floats(0.05, 10), st.floats(0, 10)
law = settings(deadline=None)  # a slow machine breaks none


@st.composite
def actions(draw):
    """Arguments of any few actions."""
    n = draw(st.integers(1, 6))

    def some(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    return {
        "logp": numbers(*some(log_prob)), "logp_ref": numbers(*some(log_prob)),
        "desirable": torch.tensor(some(st.booleans())), "weight": numbers(*some(st.floats(0, 5))),
        "beta": draw(betas), "z0": draw(offset), "lam_pos": draw(lambdas), "lam_neg": draw(lambdas),
    }  # fmt: skip


@law
@given(actions())
def test_an_action_costs_between_0_and_its_weight_times_lambda(some):
    most = some["weight"] * torch.where(some["desirable"], some["lam_pos"], some["lam_neg"])
    loss, parts = maro_loss(**some)
    assert (parts.loss >= 0).all()
    assert (parts.loss <= most + 1e-12).all()
    assert float(loss) == pytest.approx(float(parts.loss.mean()))


@law
@given(actions(), st.floats(0, 20))
def test_likelier_never_costs_more_if_desirable_nor_less_if_not(some, more):
    before = maro_loss(**some)[1].loss
    change = maro_loss(**some | {"logp": some["logp"] + more})[1].loss - before
    assert (change[some["desirable"]] <= 1e-12).all()
    assert (change[~some["desirable"]] >= -1e-12).all()


@law
@given(actions())
def test_the_other_label_is_the_mirror_image_around_z0(some):
    mirrored = some | {
        "logp": some["logp_ref"] + 2 * some["z0"] - (some["logp"] - some["logp_ref"]),
        "desirable": ~some["desirable"], "lam_pos": some["lam_neg"], "lam_neg": some["lam_pos"],
    }  # fmt: skip
    assert torch.allclose(maro_loss(**some)[1].loss, maro_loss(**mirrored)[1].loss, atol=1e-9)
    assert torch.allclose(gradient(**some), -gradient(**mirrored), atol=1e-9)


@law
@given(actions(), offset)
def test_only_the_log_ratio_counts(some, more):
    shifted = some | {"logp": some["logp"] + more, "logp_ref": some["logp_ref"] + more}
    assert torch.allclose(maro_loss(**some)[1].loss, maro_loss(**shifted)[1].loss, atol=1e-9)
    assert torch.allclose(gradient(**some), gradient(**shifted), atol=1e-9)


@law
@given(actions(), st.data())
def test_an_action_of_weight_0_teaches_nothing(some, data):
    k = data.draw(st.integers(0, len(some["logp"]) - 1))
    without = some | {"weight": some["weight"].index_fill(0, torch.tensor([k]), 0.0)}
    kept = torch.arange(len(some["logp"])) != k
    assert float(gradient(**without)[k]) == float(maro_loss(**without)[1].loss[k]) == 0.0
    assert torch.equal(gradient(**without)[kept], gradient(**some)[kept])


@law
@given(actions(), st.data())
def test_a_z0_for_each_action_is_as_good_as_taking_them_apart(some, data):
    n = len(some["logp"])
    z0 = numbers(*data.draw(st.lists(offset, min_size=n, max_size=n)))
    together = maro_loss(**some | {"z0": z0})
    names = ("logp", "logp_ref", "desirable", "weight")
    apart = [maro_loss(**some | {x: some[x][k : k + 1] for x in names} | {"z0": float(z0[k])})[0] for k in range(n)]
    assert torch.allclose(together[1].loss, torch.stack(apart), atol=1e-12)
    assert float(together[0]) == pytest.approx(sum(map(float, apart)) / n)


# --- beside TRL --------------------------------------------------------------------------------------

BETA, POS, NEG = 0.3, 1.3, 0.6
ROWS = [  # in the embedded model's language; two micro-batches of three
    ("You are Ann.\nAct? Ask: Ben Cal. Search: barn mill.\n", "Search barn.", True),
    ("You are Ben. Ann had the rope.\nVote? Ann Cal.\n", "Vote Ann.", False),
    ("You are Cal.\nRate? Ann Ben.\n", "Ann 0 2 Ben 2 0", False),
    ("You are Ann.\nSearch barn.\nBen had the knife.\nVote? Ben Cal.\n", "Vote Ben.", True),
    ("You are Ben.\nCal asks you: What do you know?\n", "I do not know.", True),
    ("You are Cal.\nAct? Ask: Ann Ben. Search: mill.\n", "Ask Ann: I suspect Ben. What do you know?", False),
]


def train_trl(loss_type, folder):
    """Run TRL's own trainer over the rows; return each step's gradient, too."""
    from datasets import Dataset

    from maro_lib.model.loading import load

    rows = Dataset.from_list([{"prompt": p, "completion": c, "label": y} for p, c, y in ROWS])
    trainer, kept = trl_trainer(
        "KTO", load("embedded", precision="float32", device="cpu"), rows, folder, loss_type=loss_type, beta=BETA,
        desirable_weight=POS, undesirable_weight=NEG, per_device_train_batch_size=3,
    )  # fmt: skip
    trainer.train()
    return trainer, [list(step.values()) for step in kept.steps]


def log_probs(model, rows, said="completion_ids"):
    """Of each row's completion, read alone, without padding: with the adapter, and without."""

    def log_prob(prompt, completion):
        logps = torch.log_softmax(model(input_ids=torch.tensor([prompt + completion])).logits[0, :-1], dim=-1)
        return sum(logps[len(prompt) - 1 + k, token] for k, token in enumerate(completion))

    policy = torch.stack([log_prob(row["prompt_ids"], row[said]) for row in rows])
    with torch.no_grad(), model.disable_adapter():
        return policy, torch.stack([log_prob(row["prompt_ids"], row[said]) for row in rows])


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("loss_type", ["apo_zero_unpaired", "kto"])
def test_same_rows_same_loss_and_gradient_as_trl(loss_type, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # TRL would report its use to the hub
    trainer, gradients = train_trl(loss_type, tmp_path)
    model, rows = trainer.model.eval(), list(trainer.train_dataset)
    told = [h for h in trainer.state.log_history if "loss" in h]
    assert [row["label"] for row in rows] == [label for *_, label in ROWS]
    for some, log, theirs in zip((rows[:3], rows[3:]), told, gradients, strict=True):
        desirable, one, z0 = torch.tensor([row["label"] for row in some]), torch.ones(3), log["kl"]
        logp, logp_ref = log_probs(model, some)
        loss, parts = maro_loss(logp, logp_ref, desirable, one, beta=BETA, z0=z0, lam_pos=POS, lam_neg=NEG)
        ours = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        assert loss.item() == near(log["loss"], size=LOGP)
        largest = max(float(g.abs().max()) for g in theirs)
        torch.testing.assert_close(list(ours), theirs, rtol=0, atol=10 * SHARE * largest)
        by_weight, _ = maro_loss(logp, logp_ref, desirable, torch.where(desirable, POS, NEG), beta=BETA, z0=z0)
        assert by_weight.item() == near(log["loss"], size=LOGP)
        if loss_type == "kto":
            policy, reference = log_probs(model, some, said="KL_completion_ids")
            assert mismatched(policy - reference).item() == near(z0, size=LOGP)
        # else nothing was compared
        assert z0 > 0.05 if loss_type == "kto" else z0 == 0.0
        assert parts.r.abs().min() > 0.01
        assert largest > 0.01


# --- the house's rule --------------------------------------------------------------------------------


def test_the_loss_imports_torch_only():
    names = set()
    for node in ast.walk(ast.parse(Path(losses.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add("." * node.level or node.module.partition(".")[0])
    assert names - sys.stdlib_module_names == {"torch"}
