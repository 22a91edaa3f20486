"""What the tests share: the runs of the notebooks, whose times close the report."""
import pytest

from run_notebooks import busy_seconds, table

LIMIT = 20 * 60  # seconds on the wall clock for all notebooks, shortened, on two cores
RUNS = pytest.StashKey()


def pytest_configure(config):
    config.stash[RUNS] = []


@pytest.fixture
def notebook_runs(pytestconfig):
    "The list that every run of a notebook is added to."
    return pytestconfig.stash[RUNS]


def pytest_terminal_summary(terminalreporter, config):
    runs = config.stash[RUNS]
    if not runs:
        return
    terminalreporter.section("notebooks, shortened")
    terminalreporter.write_line(table(runs))
    if busy_seconds(runs) > LIMIT:
        terminalreporter.write_line(
            f"more than the {LIMIT // 60} minutes meant for two cores", red=True
        )
