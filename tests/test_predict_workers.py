"""Forecasts by several processes are those of one, written whole or not at all."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Forecast

from forecaster import series

WORKERS = ("2", "3")
PROGRAM = """
import sys
from forecaster import series
series.Panel.blocks.__defaults__ = (1,)  # a series is a block of its own
from forecaster.cli import app
app(sys.argv[1:])
"""


@pytest.fixture
def by_series(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each series is a block of its own, for want of a panel of millions."""
    monkeypatch.setattr(series.Panel.blocks, "__defaults__", (1,))


@pytest.mark.usefixtures("by_series")
def test_any_number_of_workers_writes_the_same_bytes(forecast: Forecast, home: Path) -> None:
    for workers in ("1", *WORKERS):
        result = forecast("predict", "tiny", "--workers", workers, "--out", f"by_{workers}.csv")
        assert result.exit_code == 0, result.output
    alone = (home / "by_1.csv").read_bytes()
    assert alone
    assert [(home / f"by_{workers}.csv").read_bytes() == alone for workers in WORKERS] == [True, True]


@pytest.mark.parametrize("given", ["0", "-1", "two", "1.5"])
def test_workers_that_are_no_number_of_processes_are_refused(forecast: Forecast, home: Path, given: str) -> None:
    result = forecast("predict", "tiny", "--workers", given, "--out", "f.csv")
    assert result.exit_code == 2
    assert result.stderr.startswith("ConfigError  Invalid value for '--workers'")
    assert result.stderr.count("\n") == 1
    assert not (home / "f.csv").exists()


def workers_of(process: int) -> list[int]:
    """The processes that forecast for another one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = entry.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            words = entry.joinpath("cmdline").read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if int(parent) == process and b"LokyProcess" in words:
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here to find the processes in")
def test_a_worker_that_is_killed_leaves_no_half_file(forecast: Forecast, home: Path) -> None:
    quarters = pd.date_range("1990-01-01", periods=60, freq="QS")
    many = [pd.DataFrame({"unique_id": f"more {b}", "ds": quarters, "y": np.arange(60.0) + b}) for b in range(200)]
    pd.concat(many).to_csv(home / "more.csv", index=False)
    assert forecast("ingest", "more.csv", "--name", "macro").exit_code == 0
    words = ["predict", "tiny", "--workers", "2", "--out", "killed.csv"]
    environment = {**os.environ, "FORECASTER_HOME": str(home)}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], cwd=home, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while not (found := workers_of(process.pid)):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)
        _, talk = process.communicate(timeout=60)
    assert process.returncode == 2, talk.decode()
    assert b"ConfigError  --workers 2: one of the processes was ended from outside" in talk
    assert b"Traceback" not in talk
    assert [path.name for path in home.rglob("*killed.csv*")] == []
