"""A model that takes over from another while the stream goes on, as a user types it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pandas as pd
import pytest
from conftest import Forecast

from forecaster.jobs.desk import SWITCH, Request, desk_of
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, open_live
from forecaster.jobs.runs import Run
from forecaster.jobs.takeover import Takeover
from forecaster.streaming.directory import lock_directory, peek
from forecaster.streaming.heir import Heir

STATE = Path("state") / "tiny"
SES = ("--forecaster", "ses")


def lines_of(home: Path) -> list[bytes]:
    later = pd.read_csv(home / "later.csv").sort_values(["ds", "unique_id"])
    return [json.dumps(row).encode() + b"\n" for row in later.to_dict("records")]


def wait_until(is_so: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Stream:
    """A stream of the run `tiny` in a process of its own, that follows feed.ndjson and writes live.ndjson."""

    def __init__(self, home: Path, *words: str) -> None:
        self.home, self.out = home, home / "live.ndjson"
        self.lines = lines_of(home)
        self.given = 0
        (home / "feed.ndjson").touch()
        typed = ["stream", "tiny", "--in", "feed.ndjson", "--follow", "--out", "live.ndjson", *words]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "forecaster", *typed],
            cwd=home,
            env={**os.environ, "FORECASTER_HOME": str(home)},
            stderr=subprocess.PIPE,
        )

    def give(self, count: int) -> list[dict]:
        """Append so many lines to the feed, and wait for their forecasts."""
        with (self.home / "feed.ndjson").open("ab") as feed:
            feed.write(b"".join(self.lines[self.given : self.given + count]))
        self.given += count
        wait_until(lambda: self.out.exists() and self.out.read_bytes().count(b"\n") == self.given)
        return self.said()

    def said(self) -> list[dict]:
        return [orjson.loads(line) for line in self.out.read_bytes().splitlines()]


@contextmanager
def streaming(home: Path, *words: str) -> Iterator[Stream]:
    stream = Stream(home, *words)
    try:
        yield stream
        stream.process.send_signal(signal.SIGTERM)
        _, talk = stream.process.communicate(timeout=30)
        assert stream.process.returncode == 0, talk.decode()
    finally:
        stream.process.kill()
        stream.process.communicate()


def told(forecast: Forecast, *words: object) -> dict:
    done = forecast(*words, "--json")
    assert done.exit_code == 0, done.output
    return dict(orjson.loads(done.stdout))


def unbroken(forecast: Forecast, home: Path, *words: str) -> list[dict]:
    """What one model says of the whole feed."""
    (home / "whole.ndjson").write_bytes(b"".join(lines_of(home)))
    place = f"whole{len(words)}"
    done = forecast(
        "stream", "tiny", "--in", "whole.ndjson", "--out", f"{place}.said", "--state", place, "--out-format", "ndjson", *words
    )
    assert done.exit_code == 0, done.output
    return [orjson.loads(line) for line in (home / f"{place}.said").read_bytes().splitlines()]


def test_a_running_stream_is_handed_over_and_back_without_a_break(forecast: Forecast, home: Path) -> None:
    with streaming(home) as stream:
        assert {row["model"] for row in stream.give(9)} == {"tiny"}
        done = told(forecast, "state", "handover", STATE, "tiny", *SES)
        assert (done["before"]["forecaster"], done["after"]["forecaster"], done["cut"]) == (None, "ses", [])
        assert done["pause_ms"] < 5_000
        assert done["moved"] > 0
        assert [row["model"] for row in stream.give(6)] == ["tiny"] * 9 + ["tiny/ses"] * 6
        assert told(forecast, "state", "inspect", STATE)["owner"]["forecaster"] == "ses"
        assert told(forecast, "state", "handback", STATE)["pause_ms"] < 5_000
        said = stream.give(9)
        assert told(forecast, "state", "handover", STATE, "tiny")["pause_ms"] is None  # who has it keeps it
    assert [row["model"] for row in said] == ["tiny"] * 9 + ["tiny/ses"] * 6 + ["tiny"] * 9
    network, ses = unbroken(forecast, home), unbroken(forecast, home, *SES)
    assert said == network[:9] + ses[9:15] + network[15:]
    assert told(forecast, "state", "inspect", STATE)["lines"] == 24


def test_a_stream_that_dies_in_a_handover_leaves_it_to_be_made_without_it(forecast: Forecast, home: Path) -> None:
    with streaming(home) as stream:
        expected = stream.give(9)
        stream.process.send_signal(signal.SIGSTOP)
        threading.Timer(1.0, lambda: stream.process.kill()).start()
        done = forecast("state", "handover", STATE, "tiny", *SES, "--json")
        assert done.exit_code == 0, done.output
        assert orjson.loads(done.stdout)["pause_ms"] is None
        assert stream.said() == expected
        stream.process.wait()
        stream.process.returncode = 0
    assert told(forecast, "state", "inspect", STATE)["owner"]["forecaster"] == "ses"
    assert told(forecast, "state", "handback", STATE)["after"]["forecaster"] is None


def refused(forecast: Forecast, *words: object) -> str:
    done = forecast(*words)
    assert done.exit_code == 2, done.output
    return str(done.stderr.splitlines()[-1])


@pytest.fixture
def state(forecast: Forecast, home: Path) -> Path:
    """A state of `tiny` after a part of the feed."""
    (home / "part.ndjson").write_bytes(b"".join(lines_of(home)[:9]))
    assert forecast("stream", "tiny", "--in", "part.ndjson", "--out", "part.said", "--out-format", "ndjson").exit_code == 0
    return home / STATE


def test_who_holds_a_state_and_gives_no_answer_is_named(forecast: Forecast, state: Path) -> None:
    lock = lock_directory(state)
    said = refused(forecast, "state", "handover", STATE, "tiny", *SES, "--wait", "1")
    os.close(lock)
    assert f"process {os.getpid()} holds state/tiny and gave no sign for 1 s; expected a stream that answers" in said
    assert peek(state)["owner"]["forecaster"] is None


def test_a_second_handover_waits_for_nobody(forecast: Forecast, state: Path) -> None:
    with desk_of(state):
        said = refused(forecast, "state", "handover", STATE, "tiny", *SES)
    assert f"state in state/tiny is being handed over by process {os.getpid()} already" in said


def test_a_run_of_another_shape_does_not_take_a_running_stream(forecast: Forecast, home: Path, state: Path) -> None:
    shorter = shutil.copytree(home / "runs" / "tiny", home / "runs" / "shorter")
    facts = json.loads((shorter / "run.json").read_bytes())
    (shorter / "run.json").write_text(json.dumps(facts | {"horizon": 2}))
    lock = lock_directory(state)
    said = refused(forecast, "state", "handover", STATE, "shorter", *SES)
    os.close(lock)
    assert "run 'shorter' forecasts 2 leads of" in said
    assert told(forecast, "state", "handover", STATE, "shorter", *SES)["pause_ms"] is None  # of a stopped one it does


def test_what_was_made_beside_and_is_damaged_is_not_taken_over(home: Path, state: Path) -> None:
    told: list[str] = []
    speaker = Speaker.of(Run.open("tiny", Home(home)), Home(home), None, say=told.append)
    config = speaker.run.config.streaming
    with (
        open_live(speaker, Home(home), state, config=config, cold=False, rebuild=False, say=told.append) as engine,
        desk_of(state) as desk,
        closing(Takeover(engine, Home(home), say=told.append, taken=lambda _: None)) as takeover,
    ):
        saved = Heir(speaker.stepper, engine.series, engine.store.batch).save(desk.beside)
        request = Request(SWITCH, speaker.owner, replace(saved, checksums=(1,)))
        desk.ask(request)
        wait_until(lambda: takeover.attend() or desk.answer_to(request))
        answer = desk.answer_to(request)
        assert answer is not None
        assert "what was made beside cannot be taken over (ValueError('checksum')). Give the command again" in str(answer.error)
        assert engine.store.is_open
    assert peek(state)["owner"]["forecaster"] is None


def test_a_stream_of_the_run_before_is_told_who_has_the_state(forecast: Forecast, home: Path, state: Path) -> None:
    shutil.copytree(home / "runs" / "tiny", home / "runs" / "second")
    told(forecast, "state", "handover", STATE, "second", *SES)
    said = refused(forecast, "stream", "tiny", "--in", "part.ndjson")
    assert "belongs to run 'second', this stream runs 'tiny'. Stream that run" in said
    assert told(forecast, "state", "handback", STATE)["after"]["run"].endswith("tiny")
    assert "no state before" not in str(told(forecast, "state", "handback", STATE))


def test_two_rebuilds_within_a_second_keep_both_states(forecast: Forecast, home: Path, state: Path) -> None:
    for _ in range(2):
        done = forecast("stream", "tiny", "--in", "part.ndjson", "--out", "again.said", "--out-format", "ndjson", "--rebuild")
        assert done.exit_code == 0, done.output
        (home / "again.said").unlink()
    assert len(list((home / "state").iterdir())) == 3
