"""What the tests share: how several processes (`-n 2`, of pytest-xdist) divide them, and the times
of the notebooks, which close the report."""
import os
from pathlib import Path

import pytest

from run_notebooks import Run, busy_seconds, table

LIMIT = 20 * 60  # seconds on the wall clock for all notebooks, shortened, on two cores
RUNS: list[dict] = []  # fields of `Run`, of all notebooks
SIDE_BY_SIDE = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
SHARE = max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE)  # of the cores, for each process
# before torch is imported; the process that started this one alone may have set it to all of them
os.environ["OMP_NUM_THREADS"] = str(min(SHARE, int(os.environ.get("OMP_NUM_THREADS", SHARE))))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """The tests of a file stay together, since they share what is costly to make; each notebook is
    for itself."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid if "::test_notebook[" in nodeid else nodeid.partition("::")[0]
    return ByFile(config, log)


def pytest_runtest_logreport(report):
    if report.when != "call": return
    RUNS.extend(told for name, told in report.user_properties if name == "run")


def pytest_terminal_summary(terminalreporter):
    if not RUNS:
        return
    runs = [Run(**told | {"path": Path(told["path"])}) for told in RUNS]
    terminalreporter.section("notebooks, shortened")
    terminalreporter.write_line(table(runs))
    if busy_seconds(runs) > LIMIT:
        terminalreporter.write_line(
            f"more than the {LIMIT // 60} minutes meant for two cores", red=True
        )
