"""What every bench run prints: the seed, so that it can be replayed."""

from __future__ import annotations

import pytest

from sim.lib.runner import seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the seed at the end of the run."""
    terminalreporter.write_line(f"seed {seed()}: TANDEM_SEED={seed()} (or make sim SEED={seed()}) replays it")
