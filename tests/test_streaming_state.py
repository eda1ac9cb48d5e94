"""What the store keeps, and what it refuses."""

import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_streaming_steppers import HOURLY, Smoothing

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.live import FeedPosition, LiveSeries, Progress
from forecaster.streaming.sinks import DeadLetters
from forecaster.streaming.state import StateStore
from forecaster.streaming.stepping import catch_up, take_in, turns

TESTS = Path(__file__).parent
STEPPER = Smoothing()


def open_store(
    directory: Path, *, fingerprint: str = "3fa9c1", frequency: Frequency = HOURLY, state_size: int = 3, window: int = 2
):
    return StateStore.open(directory, fingerprint=fingerprint, frequency=frequency, state_size=state_size, window=window)


def apply(series: LiveSeries, slots, positions, y) -> None:
    for turn in turns(slots):
        take_in(series, STEPPER, slots[turn], positions[turn], y[turn])
    catch_up(series, STEPPER, np.unique(slots))


def load(store: StateStore) -> tuple[LiveSeries, Progress]:
    return store.load(STEPPER.initial_state, apply)


def fill(directory: Path, *, count: int = 500, batches: int = 3, snapshot_after: int = 1) -> tuple[LiveSeries, Progress]:
    """A store with some micro-batches in its log and a snapshot before them."""
    generator = np.random.default_rng(5)
    with open_store(directory) as store:
        series, progress = load(store)
        for batch in range(batches):
            known, new = len(series), [f"s{b}" for b in range(len(series), (batch + 1) * count // batches)]
            series.add(new, STEPPER.initial_state(len(new)))
            slots = np.concatenate([np.arange(known, len(series)), generator.permutation(len(series))])
            positions, y = np.where(np.arange(len(slots)) < len(new), 0, batch + 1), generator.normal(size=len(slots))
            y[3], y[4] = np.nan, -0.0
            apply(series, slots, positions, y)
            progress = Progress(FeedPosition(7 + batch, 99, 5, "x"), {"next": 5}, series=len(series), newest=batch + 1)
            store.commit(series, progress, new=new, slots=slots, positions=positions, values=y)
            if batch + 1 == snapshot_after:
                store.snapshot(series)
    return series, progress


def assert_equal(found: tuple[LiveSeries, Progress], expected: tuple[LiveSeries, Progress]) -> None:
    count = len(expected[0])
    assert found[1] == expected[1]
    assert (found[0].ids, found[0].slots) == (expected[0].ids, expected[0].slots)
    for name in LiveSeries.ARRAYS:
        assert getattr(found[0], name)[:count].tobytes() == getattr(expected[0], name)[:count].tobytes(), name


@pytest.mark.parametrize("snapshot_after", [0, 1, 2, 3])
def test_what_was_committed_is_read_back_to_the_bit(tmp_path, snapshot_after):
    expected = fill(tmp_path, snapshot_after=snapshot_after)
    with open_store(tmp_path) as store:
        assert_equal(load(store), expected)


def test_a_snapshot_of_one_shard_leaves_the_log_to_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.streaming.shards.SHARD", 100)
    monkeypatch.setattr("forecaster.streaming.state.SHARD", 100)
    fill(tmp_path)
    with open_store(tmp_path) as store:
        series, progress = load(store)
        store.snapshot(series, [2])
        store.snapshot(series, [0, 4])
    with open_store(tmp_path) as store:
        assert_equal(load(store), (series, progress))
    assert len(list(tmp_path.glob("shard-*"))) == 4  # the fourth shard has its log alone


def test_the_log_is_dropped_when_every_shard_has_a_snapshot(tmp_path):
    series, progress = fill(tmp_path)
    with open_store(tmp_path) as store:
        load(store)
        store.snapshot(series)
    assert rows_of(tmp_path, "SELECT count(*) FROM log") == [(0,)]
    assert len(list(tmp_path.glob("shard-*"))) == 1
    with open_store(tmp_path) as store:
        assert_equal(load(store), (series, progress))


def test_a_snapshot_is_made_when_the_log_has_grown(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.streaming.state.LEAST_LOG", 10)
    monkeypatch.setattr("forecaster.streaming.state.LOG_PER_SERIES", 1)
    expected = fill(tmp_path, snapshot_after=0)
    assert rows_of(tmp_path, "SELECT count(*) FROM log") == [(0,)]
    with open_store(tmp_path) as store:
        assert_equal(load(store), expected)


def test_snapshots_that_were_not_committed_are_removed(tmp_path):
    expected = fill(tmp_path)
    (tmp_path / "shard-00000-9.bin").write_bytes(b"left by a kill")
    (tmp_path / "shard-00000-7.bin.part").write_bytes(b"and this")
    with open_store(tmp_path) as store:
        assert_equal(load(store), expected)
    assert len(list(tmp_path.glob("shard-*"))) == 1


def test_a_state_can_be_read_while_another_process_holds_it(tmp_path):
    expected = fill(tmp_path)
    with (
        open_store(tmp_path),
        StateStore.look(tmp_path, fingerprint="3fa9c1", frequency=HOURLY, state_size=3, window=2) as looked_at,
    ):
        assert_equal(load(looked_at), expected)
    with pytest.raises(StateError, match="there is no state in"):
        StateStore.look(tmp_path / "none", fingerprint="3fa9c1", frequency=HOURLY, state_size=3, window=2)


def test_who_looks_begins_again_where_the_stream_replaced_a_snapshot_meanwhile(tmp_path):
    fill(tmp_path)
    looked_at = StateStore.look(tmp_path, fingerprint="3fa9c1", frequency=HOURLY, state_size=3, window=2)
    with open_store(tmp_path) as store, looked_at:
        expected = load(store)

        def begin(count):
            if store.logged:
                store.snapshot(expected[0])
            return STEPPER.initial_state(count)

        assert_equal(looked_at.load(begin, apply), expected)


def test_a_snapshot_of_some_shards_that_commits_progress_leaves_no_hole_in_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.streaming.shards.SHARD", 100)
    monkeypatch.setattr("forecaster.streaming.state.SHARD", 100)
    fill(tmp_path)
    with open_store(tmp_path) as store:
        series, progress = load(store)
        store.snapshot(series, [4], progress)
    with open_store(tmp_path) as store:
        assert_equal(load(store), (series, progress))


def test_ids_of_any_script_are_kept(tmp_path):
    ids = ["Zürich 🚲", "a\x00b", "'; DROP TABLE series; --", "x" * 5_000]
    nothing = np.empty(0, np.int64)
    for snapshot in (False, True):
        with open_store(tmp_path / str(snapshot)) as store:
            series, _ = load(store)
            series.add(ids, STEPPER.initial_state(4))
            store.commit(series, Progress(series=4), new=ids, slots=nothing, positions=nothing, values=np.empty(0))
            if snapshot:
                store.snapshot(series)
        with open_store(tmp_path / str(snapshot)) as store:
            assert load(store)[0].ids == ids


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"fingerprint": "8b20e4"}, "was written by model 3fa9c1, this stream runs 8b20e4. Load that model"),
        ({"frequency": Frequency("D")}, r"counts time by alias h, stride 1, this stream by alias D"),
        ({"frequency": Frequency("h", time_zone="UTC")}, "time_zone UTC"),
        ({"state_size": 4}, "has 3 numbers a series, this model carries 4"),
        ({"window": 5}, "keeps 2 positions open to revisions, this stream 5. Set streaming.revision_window=2"),
    ],
)
def test_state_of_another_model_or_clock_is_refused(tmp_path, other, message):
    fill(tmp_path)
    with pytest.raises(StateError, match=message):
        open_store(tmp_path, **other)
    open_store(tmp_path).close()  # and the refusal has let go of the lock


def test_state_of_another_version_is_refused(tmp_path, monkeypatch):
    fill(tmp_path)
    monkeypatch.setattr("forecaster.streaming.directory.SCHEMA_VERSION", 3)
    with pytest.raises(StateError, match="has schema version 2; this program reads 3"):
        open_store(tmp_path)


def rows_of(directory: Path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(directory / "state.sqlite")
    rows = connection.execute(statement).fetchall()
    connection.commit()
    connection.close()
    return rows


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE log SET block = zeroblob(length(block)) WHERE batch = 2", "damaged block 2 in its log"),
        ("UPDATE log SET block = zeroblob(2) WHERE batch = 2", "damaged block 2 in its log"),
        ("UPDATE log SET batch = 9 WHERE batch = 3", "lacks block 3 of its log"),
        ("DELETE FROM log WHERE batch = 2", "lacks block 2 of its log"),
        ("DELETE FROM log WHERE batch = 3", "lacks block 3 of its log"),
        ("DELETE FROM meta WHERE name = 'shards'", "lacks block 1 of its log"),
        ("UPDATE meta SET value = replace(value, '99', '98') WHERE name = 'progress'", "damaged record"),
        ("UPDATE meta SET value = replace(value, ':', ';') WHERE name = 'shards'", "damaged record"),
        ("UPDATE meta SET value = replace(value, '3fa9c1', '3fa9c2') WHERE name = 'identity'", "damaged record"),
        ("DELETE FROM meta", "does not say what wrote it"),
        ("DROP TABLE log", "cannot be read"),
    ],
)
def test_a_changed_log_is_refused(tmp_path, statement, message):
    fill(tmp_path)
    rows_of(tmp_path, statement)
    with pytest.raises(StateError, match=message), open_store(tmp_path) as store:
        load(store)


def test_a_block_under_another_s_number_is_refused(tmp_path):
    fill(tmp_path, batches=4)
    rows_of(tmp_path, "UPDATE log SET batch = 9 WHERE batch = 2")
    rows_of(tmp_path, "UPDATE log SET batch = 2 WHERE batch = 3")
    rows_of(tmp_path, "UPDATE log SET batch = 3 WHERE batch = 9")
    with pytest.raises(StateError, match="lacks block 2 of its log"), open_store(tmp_path) as store:
        load(store)


def test_a_snapshot_that_is_gone_is_missed(tmp_path):
    fill(tmp_path)
    next(tmp_path.glob("shard-*")).unlink()
    with pytest.raises(StateError, match=r"lacks its snapshot shard-00000-1\.bin"), open_store(tmp_path) as store:
        load(store)


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
        load(store)


@pytest.mark.parametrize("name", ["state.sqlite", "shard-00000-1.bin"])
def test_flipped_bytes_are_never_taken_for_state(tmp_path, name):
    expected = fill(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    generator = np.random.default_rng(8)
    refused = 0
    for at in generator.integers(0, len(whole), size=60):
        flipped = bytearray(whole)
        flipped[at] ^= 0xFF
        path.write_bytes(flipped)
        try:
            with open_store(tmp_path) as store:
                assert_equal(load(store), expected)
        except StateError:
            refused += 1
    assert refused == 60 if name.startswith("shard") else refused > 5


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
    expected = fill(tmp_path, count=10)
    many = np.zeros(100_000, np.int64)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(tmp_path) as store:
        series, progress = load(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, hard))
        try:
            with pytest.raises(StateError, match=r"cannot be read or written .*all that was committed is kept"):
                store.commit(series, progress, slots=many, positions=many, values=many.astype(float))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(StateError, match="is closed, after a failure"):
            store.commit(series, progress, slots=many, positions=many, values=many.astype(float))
    with open_store(tmp_path) as store:
        assert_equal(load(store), expected)


def test_a_full_disk_during_a_snapshot_keeps_the_log(tmp_path):
    expected = fill(tmp_path, count=2_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(tmp_path) as store:
        series, _ = load(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            with pytest.raises(StateError, match=r"cannot be read or written .*all that was committed is kept"):
                store.snapshot(series)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with open_store(tmp_path) as store:
        assert_equal(load(store), expected)


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
