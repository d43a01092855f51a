"""What the tests share: the small worlds of every language and register, and kernels that start at once."""

from collections.abc import Iterator

import pytest
from warm_kernels import warm_kernels
from worlds import worlds


@pytest.fixture(params=["en", "compact", "zh"])
def small_world(request):
    """One small script of each phrasebook."""
    return worlds()[request.param]


@pytest.fixture(scope="session")
def kernels(tmp_path_factory) -> Iterator[dict[str, str]]:
    """The environment of whoever runs many notebooks; not of who kills, since these kernels hold no lock."""
    with warm_kernels(tmp_path_factory.mktemp("kernels")) as environment:
        yield environment
