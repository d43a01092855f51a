"""What the tests share: the small worlds of every language and register."""

import pytest
from worlds import worlds


@pytest.fixture(params=["en", "compact", "zh"])
def small_world(request):
    """One small script of each phrasebook."""
    return worlds()[request.param]
