"""Products in bfloat16: what a processor without units for it computes is what the units would."""

import pytest
import torch

from maro_lib.model import bfloat16
from maro_lib.model.bfloat16 import InFloat32, products


@pytest.fixture
def halves():
    torch.manual_seed(0)
    return torch.randn(24, 40).bfloat16(), torch.randn(40, 16).bfloat16()


def test_a_product_is_the_float32_product_rounded(halves):
    a, b = halves
    with InFloat32():
        product = a @ b
    assert product.dtype == torch.bfloat16
    assert torch.equal(product, (a.float() @ b.float()).bfloat16())


def test_other_types_are_left_alone(halves):
    a, b = (x.double() for x in halves)
    with InFloat32():
        product = a @ b
    assert product.dtype == torch.float64
    assert torch.equal(product, torch.mm(a, b))


def test_gradients_and_muon_multiply_the_same_way(halves, monkeypatch):
    multiplied = []
    counted = InFloat32.__torch_dispatch__
    monkeypatch.setattr(bfloat16, "bfloat16_pays", lambda: False)
    monkeypatch.setattr(InFloat32, "__torch_dispatch__", lambda *a: multiplied.append(a[1]) or counted(*a))
    a, b = (x.requires_grad_() for x in halves)
    weight = torch.nn.Parameter(torch.randn(8, 8))
    with products():
        (a @ b).float().square().sum().backward()
        weight.grad = torch.randn(8, 8)
        torch.optim.Muon([weight], lr=0.1).step()
    assert sum(op in bfloat16.MATMULS for op in multiplied) == 3 + 15, "forward, two gradients, five steps of three"


def test_where_it_pays_nothing_is_put_between(monkeypatch):
    monkeypatch.setattr(bfloat16, "bfloat16_pays", lambda: True)
    with products() as mode:
        assert mode is None
