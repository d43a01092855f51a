"""How near two ways to one float32 number must come: rounding is a share of what is added up, a mistake is far more."""

import pytest

SHARE = 1e-5  # 84 spacings of float32: other instructions add up in another order, and move a sum by 1 to 10 of them
LOGP = 10  # the size of a token's log-probability: an r is the difference of sums of these


def near(expected, *, size: float = 0.0):
    """Equal but for rounding; `size` is that of the terms where they are larger than their sum."""
    return pytest.approx(expected, rel=SHARE, abs=SHARE * size)
