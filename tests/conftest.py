"""What the tests share: the small worlds of every language and register."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers with two threads each would wait for one another

import pytest
from worlds import worlds


@pytest.fixture(params=["en", "compact", "zh"])
def small_world(request):
    """One small script of each phrasebook."""
    return worlds()[request.param]
