"""What tests and notebooks under test share: their threads, and where the time went."""

import os
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers with two threads each would wait for one another
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, which some tests import before the library
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # numbers and stored outputs are of a processor; `make gpu` is for the other


def pytest_terminal_summary(terminalreporter):
    """Show the files that took longest, of several."""
    seconds = Counter()
    for report in (r for reports in terminalreporter.stats.values() for r in reports if hasattr(r, "duration")):
        seconds[report.nodeid.partition("::")[0]] += report.duration
    if len(seconds) > 1:
        terminalreporter.section("slowest files")
        for name, n in seconds.most_common(10):
            terminalreporter.write_line(f"{n:6.1f} s  {name}")
