"""What only a real process shows: signals, kills, pipes, a stream that goes on, and how soon help is there."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast

PROGRAM = [sys.executable, "-m", "forecaster"]
LONG = ["train", str(CONFIG), "--panel", "macro", "--name", "long", *TINY_SETTINGS]
LONG += ["--set", "training.validation_steps=10", "--set", "training.patience=100000", "--set", "training.refit_share=0"]


@contextmanager
def begin(home: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process of its own, which a test that fails meanwhile does not wait for."""
    environment = {**os.environ, "FORECASTER_HOME": str(home)}
    pipe = subprocess.PIPE
    with subprocess.Popen([*PROGRAM, *words], cwd=home, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_checkpoint(home: Path) -> None:
    deadline = time.monotonic() + 120
    while not list((home / "runs" / ".unfinished").glob("*/training/*/last.ckpt")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def feed(home: Path) -> list[bytes]:
    later = pd.read_csv(home / "later.csv").sort_values(["ds", "unique_id"])
    return [json.dumps(row).encode() + b"\n" for row in later.to_dict("records")]


def test_the_command_line_imports_nothing_heavy() -> None:
    told = "import sys, forecaster.cli; print({'torch', 'pandas', 'numpy', 'statsmodels', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", told], capture_output=True, check=True).stdout == b"set()\n"


def test_help_shows_examples_and_completion_is_offered() -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    shown = subprocess.run([*PROGRAM, "train", "--help"], capture_output=True, check=True, env=environment, text=True).stdout
    assert "forecast train configs/default.yaml --panel sales" in shown
    assert max(map(len, shown.splitlines())) <= 80
    asked = {**environment, "_FORECAST_COMPLETE": "complete_bash", "COMP_WORDS": "forecast tr", "COMP_CWORD": "1"}
    completed = subprocess.run(PROGRAM, capture_output=True, check=True, env=asked, text=True).stdout
    assert completed.split() == ["train"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_training_that_was_stopped_leaves_no_run_and_goes_on(
    home: Path, forecast: Forecast, number: signal.Signals, code: int
) -> None:
    words = [*LONG, "--set", "training.max_steps=400"]  # some two seconds, forty times what the first checkpoint takes
    with begin(home, *words) as process:
        wait_for_checkpoint(home)
        process.send_signal(number)
        _, talk = process.communicate(timeout=30)
    assert process.returncode == code, talk.decode()
    assert b"Traceback" not in talk
    assert not (home / "runs" / "long").exists()
    result = forecast(*words)
    assert result.exit_code == 0, result.output
    assert "going on from an unfinished training" in result.stderr
    assert (home / "runs" / "long" / "run.json").exists()


def test_members_in_training_end_with_the_one_who_asked_for_them(home: Path) -> None:
    with begin(home, *LONG, "--set", "training.max_steps=100000", "--set", "model.members=2") as process:
        wait_for_checkpoint(home)
        process.kill()
    told = next((home / "runs" / ".unfinished").glob("*/training/*/progress"))
    deadline = time.monotonic() + 60
    while time.time() - told.stat().st_mtime < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_stream_drains_at_sigterm_and_a_second_process_goes_on(home: Path, forecast: Forecast) -> None:
    lines = feed(home)
    whole = (
        forecast("stream", "tiny", "--state", "whole", feed=b"".join(lines).decode()).stdout.encode().splitlines(keepends=True)
    )
    assert len(whole) == len(lines)
    with begin(home, "stream", "tiny", "--state", "parts") as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"".join(lines[:9]) + b"rubbish\n")
        process.stdin.flush()
        first = [process.stdout.readline() for _ in range(9)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    rest = forecast("stream", "tiny", "--state", "parts", feed=b"".join(lines[9:]).decode())
    assert "go on from" in rest.stderr
    assert first + rest.stdout.encode().splitlines(keepends=True) == whole


def test_a_stream_refuses_the_state_of_another_run(home: Path, forecast: Forecast) -> None:
    other = [*TINY_SETTINGS, "--set", "seed=7", "--name", "other"]
    assert forecast("train", CONFIG, "--panel", "macro", *other).exit_code == 0
    assert forecast("stream", "tiny", "--state", "live", feed="").exit_code == 0
    result = forecast("stream", "other", "--state", "live", feed="")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("StateError  state in live belongs to run 'tiny', this stream runs 'other'")


def test_a_reader_that_leaves_ends_a_command_quietly(home: Path) -> None:
    with begin(home, "predict", "tiny", "--horizon", "300") as process:
        assert process.stdout
        process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, talk = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"Traceback" not in talk
    assert b"BrokenPipe" not in talk
