"""A model that takes over from another while the stream goes on, as a user types it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pandas as pd
from conftest import Forecast

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
    assert [row["model"] for row in said] == ["tiny"] * 9 + ["tiny/ses"] * 6 + ["tiny"] * 9
    network, ses = unbroken(forecast, home), unbroken(forecast, home, *SES)
    assert said == network[:9] + ses[9:15] + network[15:]
    assert told(forecast, "state", "inspect", STATE)["lines"] == 24
