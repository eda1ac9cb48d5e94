"""What the store keeps, and what it refuses."""

import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_streaming_steppers import HOURLY

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.live import FeedPosition, LiveSeries, Progress
from forecaster.streaming.sinks import DeadLetters
from forecaster.streaming.state import StateStore

TESTS = Path(__file__).parent


def open_store(directory: Path, *, fingerprint: str = "3fa9c1", frequency: Frequency = HOURLY, state_size: int = 3) -> StateStore:
    return StateStore.open(directory, fingerprint=fingerprint, frequency=frequency, state_size=state_size)


def fill(directory: Path, *, count: int = 500) -> tuple[LiveSeries, Progress]:
    series = some_series(count)
    progress = Progress(FeedPosition(7, 99), {"next": 5}, dead_letter_bytes=0, series=count)
    with open_store(directory) as store:
        store.commit(series, np.arange(count), progress)
    return series, progress


def some_series(count: int) -> LiveSeries:
    generator = np.random.default_rng(5)
    series = LiveSeries(3)
    slots = series.add([f"s{b}" for b in range(count)], np.zeros((count, 3), np.float32))
    y = generator.normal(size=count)
    y[0], y[1:2] = -0.0, np.nan
    series.move(slots, generator.normal(size=(count, 3)).astype(np.float32), positions=np.arange(count), y=y)
    return series


def test_what_was_committed_is_read_back_to_the_bit(tmp_path):
    series, progress = fill(tmp_path)
    with open_store(tmp_path) as store:
        read, read_progress = store.load()
    assert read_progress == progress
    assert read.ids == series.ids
    for name in ("positions", "counts", "state"):
        assert getattr(read, name)[:500].tobytes() == getattr(series, name)[:500].tobytes()
    assert np.array_equal(read.y[:500], series.y[:500], equal_nan=True)


def test_ids_of_any_script_are_kept(tmp_path):
    ids = ["Zürich 🚲", "a\x00b", "'; DROP TABLE series; --", "x" * 5_000]
    series = LiveSeries(3)
    slots = series.add(ids, np.zeros((4, 3), np.float32))
    with open_store(tmp_path) as store:
        store.commit(series, slots, Progress(series=4))
        assert store.load()[0].ids == ids


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"fingerprint": "8b20e4"}, "was written by model 3fa9c1, this stream runs 8b20e4. Load that model"),
        ({"frequency": Frequency("D")}, r"counts time by alias h, stride 1, this stream by alias D"),
        ({"frequency": Frequency("h", time_zone="UTC")}, "time_zone UTC"),
        ({"state_size": 4}, "has 3 numbers a series, this model carries 4"),
    ],
)
def test_state_of_another_model_or_clock_is_refused(tmp_path, other, message):
    fill(tmp_path)
    with pytest.raises(StateError, match=message):
        open_store(tmp_path, **other)
    open_store(tmp_path).close()  # and the refusal has let go of the lock


def test_state_of_another_version_is_refused(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr("forecaster.streaming.state.SCHEMA_VERSION", 2)
    with pytest.raises(StateError, match="has schema version 1; this program reads 2"):
        open_store(tmp_path)


def change(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / "state.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE series SET state = zeroblob(12) WHERE slot = 7", "damaged row: series 's7', slot 7"),
        ("UPDATE series SET state = zeroblob(8) WHERE slot = 7", "damaged row: series 's7', slot 7"),
        ("UPDATE series SET y = y + 1 WHERE slot = 7", "damaged row: series 's7', slot 7"),
        ("UPDATE series SET position = 4 WHERE slot = 7", "damaged row: series 's7', slot 7"),
        ("UPDATE series SET unique_id = 'x' WHERE slot = 7", "damaged row: series 'x', slot 7"),
        ("DELETE FROM series WHERE slot = 7", "damaged row"),
        ("DELETE FROM series WHERE slot = 499", "holds 499 series where 500 were committed"),
        ("UPDATE meta SET value = replace(value, '7', '8') WHERE name = 'progress'", "damaged record"),
        ("UPDATE meta SET value = replace(value, '3fa9c1', '3fa9c2') WHERE name = 'identity'", "damaged record"),
        ("DELETE FROM meta", "does not say what wrote it"),
        ("DROP TABLE series", "cannot be read"),
    ],
)
def test_a_changed_row_is_refused(tmp_path, statement, message):
    fill(tmp_path)
    change(tmp_path, statement)
    with pytest.raises(StateError, match=message), open_store(tmp_path) as store:
        store.load()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100, b"SQLite format 3\x00"])
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path, content):
    (tmp_path / "state.sqlite").write_bytes(content)
    with pytest.raises(StateError, match=r"cannot be read .*Put back a copy of the directory"):
        open_store(tmp_path)
    assert (tmp_path / "state.sqlite").read_bytes() == content


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_torn_store_is_refused(tmp_path, share):
    fill(tmp_path)
    path = tmp_path / "state.sqlite"
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(StateError, match="Put back a copy of the directory"), open_store(tmp_path) as store:
        store.load()


def test_flipped_bytes_are_never_taken_for_state(tmp_path):
    series, progress = fill(tmp_path)
    path = tmp_path / "state.sqlite"
    whole = path.read_bytes()
    generator = np.random.default_rng(8)
    refused = 0
    for at in generator.integers(0, len(whole), size=60):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        path.write_bytes(flipped)
        try:
            with open_store(tmp_path) as store:
                read, read_progress = store.load()
        except StateError:
            refused += 1
            continue
        assert (read.ids, read_progress) == (series.ids, progress)
        assert read.state[:500].tobytes() == series.state[:500].tobytes()
    assert refused > 20


def test_a_log_without_its_store_is_refused(tmp_path):
    (tmp_path / "state.sqlite-wal").write_bytes(b"left behind")
    with pytest.raises(StateError, match=r"has state\.sqlite-wal but no state\.sqlite"):
        open_store(tmp_path)


def test_a_second_process_is_told_who_holds_the_state(tmp_path):
    script = (
        "import sys; from pathlib import Path; from test_streaming_state import open_store\n"
        "from forecaster.errors import StateError\n"
        "try: open_store(Path(sys.argv[1]))\n"
        "except StateError as error: print(error)"
    )
    with open_store(tmp_path):
        told = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=TESTS, capture_output=True, text=True, check=True)
        with pytest.raises(StateError, match=f"in use by process {os.getpid()}"):
            open_store(tmp_path)
    assert f"is in use by process {os.getpid()}. Stop that stream first" in told.stdout
    open_store(tmp_path).close()


def test_a_full_disk_stops_the_stream_and_keeps_what_was_committed(tmp_path):
    fill(tmp_path, count=10)
    series = some_series(10)
    slots = series.add([f"t{b}" for b in range(20_000)], np.zeros((20_000, 3), np.float32))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(tmp_path) as store:
        store.load()
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(StateError, match=r"cannot be read or written .*all that was committed is kept"):
                store.commit(series, slots, Progress(series=20_010))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(StateError, match="is closed, after a failure"):
            store.commit(series, slots, Progress(series=20_010))
    with open_store(tmp_path) as store:
        assert len(store.load()[0]) == 10


@pytest.mark.parametrize("place", ["/proc/forecaster", "a file"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, place):
    (tmp_path / "a file").touch()
    with pytest.raises(StateError, match="expected a folder with room and permission to write"):
        open_store(tmp_path / place)


def test_dead_letters_that_were_not_committed_are_cut_off_and_a_moved_file_is_begun_anew(tmp_path):
    path = tmp_path / "dead_letters.ndjson"
    path.write_bytes(b"committed\nnot committed\n")
    assert DeadLetters(path, committed_bytes=10).length == 10
    assert path.read_bytes() == b"committed\n"
    path.unlink()
    assert DeadLetters(path, committed_bytes=10).length == 0
