"""Files that are followed while they grow and are rotated, and found again after a pause."""

import io
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.edges import open_source
from forecaster.streaming.live import FeedPosition

NUMBERED = Frequency("step", is_numbered=True)
PATIENCE_SECONDS = 20.0


def lines(first: int, stop: int) -> bytes:
    return b"".join(json.dumps({"unique_id": "a", "ds": ds, "y": ds / 7}).encode() + b"\n" for ds in range(first, stop))


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class Follower:
    """Follows a file in a thread; knows the positions it took in, and where it stands."""

    def __init__(self, path: Path, *, committed: FeedPosition | None = None) -> None:
        self.positions: list[int] = []
        self.letters: list[str] = []
        self.feed = committed or FeedPosition()
        self._stop = threading.Event()
        self._source = open_source(
            path,
            NUMBERED,
            committed=self.feed,
            follow=True,
            max_batch=7,
            max_latency_ms=1,
            should_stop=self._stop.is_set,
        )
        self._thread = threading.Thread(target=self._take_in)
        self._thread.start()

    def _take_in(self) -> None:
        for batch in self._source:
            self.positions += batch.positions.tolist()
            self.letters += [letter.reason for letter in batch.rejected]
            self.feed = batch.feed

    def wait_for(self, count: int) -> "Follower":
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.positions) < count and time.monotonic() < deadline and self._thread.is_alive():
            time.sleep(0.005)
        return self

    def stop(self) -> "Follower":
        self._stop.set()
        self._thread.join()
        return self


def test_what_is_appended_is_taken_in_line_by_whole_line(tmp_path):
    path = tmp_path / "feed.ndjson"
    follower = Follower(path)  # before there is a file
    time.sleep(0.05)
    append(path, lines(0, 3))
    assert follower.wait_for(3).positions == [0, 1, 2]
    append(path, lines(3, 4)[:-9])
    time.sleep(0.1)
    assert follower.positions == [0, 1, 2]
    append(path, lines(3, 4)[-9:])
    assert follower.wait_for(4).stop().positions == [0, 1, 2, 3]
    assert not follower.letters
    assert follower.feed.offset == path.stat().st_size


def test_a_line_that_is_not_whole_when_it_stops_is_read_when_it_goes_on(tmp_path):
    path = tmp_path / "feed.csv"
    append(path, b"unique_id,ds,y\na,0,1\na,1,12")
    first = Follower(path).wait_for(1).stop()
    assert (first.positions, first.letters) == ([0], [])
    append(path, b"3\n")
    second = Follower(path, committed=first.feed).wait_for(1).stop()
    assert second.positions == [1]
    assert second.feed.lines == 3


@pytest.mark.parametrize("is_stopped", [False, True], ids=["followed", "after a pause"])
def test_a_file_that_is_renamed_is_read_to_its_end_and_those_in_its_place_from_their_beginning(tmp_path, is_stopped):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 10))
    follower = Follower(path).wait_for(10)
    if is_stopped:
        follower.stop()
    append(path, lines(10, 13))  # the writer is quicker than the reader
    path.rename(tmp_path / "feed.ndjson.1")
    append(tmp_path / "feed.ndjson.1", lines(13, 15))  # and goes on until it is told
    os.utime(tmp_path / "feed.ndjson.1", ns=(1, 1))
    append(tmp_path / "feed.ndjson.0", lines(15, 20))  # rotated twice while nobody looked
    append(path, lines(20, 25))
    if is_stopped:
        follower = Follower(path, committed=follower.feed)
    seen = follower.wait_for(15 if is_stopped else 25).stop().positions
    assert seen == list(range(10 if is_stopped else 0, 25))
    assert follower.feed.lines == 25


@pytest.mark.parametrize("is_stopped", [False, True], ids=["followed", "after a pause"])
def test_a_file_that_is_copied_and_cut_to_nothing_is_read_from_its_beginning(tmp_path, is_stopped):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 10))
    follower = Follower(path).wait_for(10)
    if is_stopped:
        follower.stop()
        append(path, lines(10, 12))
    (tmp_path / "feed.ndjson-20240101").write_bytes(path.read_bytes())
    os.truncate(path, 0)
    append(path, lines(50, 65))  # longer than what was there
    if is_stopped:
        follower = Follower(path, committed=follower.feed)
        assert follower.wait_for(17).stop().positions == [10, 11, *range(50, 65)]
    else:
        assert follower.wait_for(25).stop().positions == [*range(10), *range(50, 65)]


def test_a_file_that_was_rotated_away_for_good_is_missed(tmp_path):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 10))
    follower = Follower(path).wait_for(10).stop()
    path.rename(tmp_path / "feed.ndjson.1.gz")
    append(path, lines(20, 50))
    with pytest.raises(StateError, match=r"its first bytes differ, or it is shorter, and no rotated feed.ndjson.\* beside it"):
        next(open_source(path, NUMBERED, committed=follower.feed, follow=True))
    assert Follower(path, committed=replace(follower.feed, offset=0, token="")).wait_for(30).stop().positions == list(
        range(20, 50)
    )


def test_a_place_in_a_file_is_kept_while_something_is_piped_in(tmp_path):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 10))
    batches = list(open_source(path, NUMBERED, max_batch=5))
    *_, piped = open_source(io.BytesIO(lines(90, 95)), NUMBERED, committed=batches[0].feed)
    (rest,) = open_source(path, NUMBERED, max_batch=100, committed=piped.feed)
    assert rest.positions.tolist() == [5, 6, 7, 8, 9]
    assert rest.feed.lines == 15


def test_a_broker_is_not_a_file(tmp_path):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 10))
    with pytest.raises(StateError, match="has taken in another feed"):
        list(open_source(path, NUMBERED, committed=FeedPosition(5, 5, 0, "kafka:loads:0=5")))


def test_overlong_lines_do_not_move_the_place_in_a_file(tmp_path):
    path = tmp_path / "feed.ndjson"
    append(path, lines(0, 1) + b"x" * 2_500_000 + b"\n" + lines(1, 3))
    batches = list(open_source(path, NUMBERED, max_batch=1))
    assert batches[-1].feed.offset == path.stat().st_size
    for n, batch in enumerate(batches):
        rest = list(open_source(path, NUMBERED, max_batch=1, committed=batch.feed))
        assert [left.feed for left in rest] == [left.feed for left in batches[n + 1 :]]
