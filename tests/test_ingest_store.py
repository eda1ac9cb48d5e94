"""A stored panel is the old one or the new one, whatever happens in between."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.series import Panel

WRITER = """
import sys
from pathlib import Path
import numpy as np
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.series import Panel

store = PanelStore(Path(sys.argv[1]))
old = store.manifest("demand").fingerprint
for version in range(1, 10_000):
    values = np.full(40_000, float(version))
    panel = Panel(("a", "b"), np.zeros(2, dtype=np.int64), np.array([0, 20_000, 40_000]), values, Frequency("h"))
    print(version, panel.fingerprint, flush=True)
    old = store.write("demand", panel, replaces=old).fingerprint
"""


def constant_panel(value, frequency="h", count=2, length=50):
    offsets = np.arange(count + 1) * length
    ids = tuple(f"series {n:03}" for n in range(count))
    return Panel(ids, np.arange(count), offsets, np.full(offsets[-1], float(value)), Frequency(frequency))


@pytest.fixture
def store(tmp_path):
    return PanelStore(tmp_path / "panels")


@pytest.mark.parametrize(
    "frequency",
    [
        Frequency("h"),
        Frequency("15min", "Europe/Berlin", phase=60_000_000_000),
        Frequency("D", "America/Sao_Paulo"),
        Frequency("B"),
        Frequency("W-SAT", phase=2 * 86_400_000_000_000),
        Frequency("ME"),
        Frequency("QE-NOV"),
        Frequency("YS-APR"),
        Frequency("h", is_numbered=True, stride=10, phase=3),
        Frequency("step", is_numbered=True),
    ],
    ids=lambda frequency: frequency.alias,
)
def test_a_panel_comes_back_as_it_was_written(frequency, store):
    rng = np.random.default_rng(7)
    values = np.where(rng.random(90) < 0.1, np.nan, rng.normal(size=90))
    panel = Panel(("", "b", "Ärger\n2"), np.array([-5, 0, 700]), np.array([0, 20, 50, 90]), values, frequency)
    manifest = store.write("demand", panel, sources=["x.csv"], faults={"gap": 3})
    back = store.load("demand")
    assert back.fingerprint == panel.fingerprint == manifest.fingerprint
    assert store.manifest("demand") == manifest
    assert (manifest.series, manifest.positions, manifest.sources, manifest.faults) == (3, 90, ["x.csv"], {"gap": 3})
    assert store.names() == ["demand"]


def test_other_programs_read_the_long_format(store):
    panel = constant_panel(1.5, "D")
    manifest = store.write("demand", panel)
    frame = pd.read_parquet(store.root / "demand" / manifest.rows)
    pd.testing.assert_frame_equal(frame[["unique_id", "ds", "y"]], panel.to_frame(), check_dtype=False, check_categorical=False)


def test_a_large_panel_lies_in_parts_and_each_series_in_one(store):
    panel = constant_panel(1, count=30, length=40_000)
    manifest = store.write("demand", panel)
    assert len(manifest.files) == 3
    parts = [pd.read_parquet(store.root / "demand" / manifest.rows / file)["unique_id"].unique() for file, _, _ in manifest.files]
    assert sum(len(part) for part in parts) == 30
    assert store.load("demand").fingerprint == panel.fingerprint


def test_a_writer_killed_at_any_moment_leaves_one_whole_panel(store):
    store.write("demand", constant_panel(0))
    rng = random.Random(3)
    for _ in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(store.root)], stdout=subprocess.PIPE, text=True)
        fingerprints = {store.manifest("demand").fingerprint, writer.stdout.readline().split()[1]}
        time.sleep(rng.uniform(0, 0.05))
        os.kill(writer.pid, signal.SIGKILL)
        fingerprints |= {line.split()[1] for line in writer.communicate()[0].splitlines()}
        assert store.load("demand").fingerprint in fingerprints
    last = constant_panel(99)
    store.write("demand", last, replaces=store.manifest("demand").fingerprint)
    assert store.load("demand").fingerprint == last.fingerprint
    assert len(list((store.root / "demand").glob("rows-*"))) == 1


@pytest.mark.parametrize("has_panel", [True, False])
def test_what_a_killed_writer_left_is_cleared_by_the_next(has_panel, store):
    old = store.write("demand", constant_panel(1)).fingerprint if has_panel else None
    leftover = store.root / "demand" / "rows-feedface0000-abc"
    leftover.mkdir(parents=True)
    (leftover / "part-000.parquet").write_bytes(b"PAR1 and no more")
    (store.root / "demand" / "manifest.json.beside").write_text('{"schema_ver')
    assert store.names() == (["demand"] if has_panel else [])
    store.write("demand", constant_panel(2), replaces=old)
    assert sorted(path.name[:5] for path in (store.root / "demand").iterdir()) == [".lock", "manif", "rows-"]


def test_a_changed_byte_is_noticed(store):
    manifest = store.write("demand", constant_panel(1))
    part = store.root / "demand" / manifest.rows / manifest.files[0][0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(
        StateError, match=r"part-000.parquet is not what was written. Remove .*demand and ingest its sources again"
    ):
        store.load("demand")


def test_a_file_that_is_gone_is_named(store):
    manifest = store.write("demand", constant_panel(1))
    (store.root / "demand" / manifest.rows / manifest.files[0][0]).unlink()
    with pytest.raises(StateError, match=r"part-000.parquet is gone"):
        store.load("demand")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"schema_version": 1}', "\udcff"])
def test_a_damaged_manifest_is_named(content, store):
    store.write("demand", constant_panel(1))
    (store.root / "demand" / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StateError, match=r"manifest.json is damaged \(.*\). Remove .*demand and ingest again"):
        store.load("demand")


def test_a_manifest_of_a_later_program_is_refused(store):
    store.write("demand", constant_panel(1))
    path = store.root / "demand" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 4}))
    with pytest.raises(StateError, match="has schema version 4; this program reads 3"):
        store.load("demand")


def test_a_panel_of_an_earlier_program_is_read_from_its_parts(store):
    manifest = store.write("demand", constant_panel(1.5, count=7))
    path = store.root / "demand" / "manifest.json"
    fields = json.loads(path.read_text())
    for name, _, _ in fields.pop("mapped"):
        (path.parent / manifest.rows / name).unlink()
    path.write_text(json.dumps({**fields, "schema_version": 2}))
    assert store.load("demand").fingerprint == manifest.fingerprint


def test_a_loaded_panel_leaves_its_values_on_disk_and_outlives_the_next_ingest(store):
    old = store.write("demand", constant_panel(1, length=1_000)).fingerprint
    panel = store.load("demand")
    assert not panel.values.flags.writeable
    store.write("demand", constant_panel(2), replaces=old)
    assert panel.fingerprint == old


@pytest.mark.parametrize("file", ["_series.parquet", "_values.f64"])
def test_a_changed_byte_of_what_is_mapped_is_noticed(file, store):
    manifest = store.write("demand", constant_panel(1))
    path = store.root / "demand" / manifest.rows / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match=f"{file} is not what was written. Remove .*demand and ingest its sources again"):
        store.load("demand")


def test_a_panel_that_changed_meanwhile_is_not_overwritten(store):
    old = store.write("demand", constant_panel(1)).fingerprint
    store.write("demand", constant_panel(2), replaces=old)
    with pytest.raises(StateError, match=r"panel 'demand' was changed by another ingest meanwhile. Run this one again"):
        store.write("demand", constant_panel(3), replaces=old)
    assert store.load("demand").values[0] == 2


def test_two_writers_do_not_meet(store):
    old = store.write("demand", constant_panel(1)).fingerprint
    with (store.root / "demand" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="is being written by another ingest"):
            store.write("demand", constant_panel(2), replaces=old)
    assert store.load("demand").values[0] == 1


def test_a_panel_that_is_not_there_is_named_with_those_that_are(store):
    store.write("demand", constant_panel(1))
    with pytest.raises(DataError, match=r"panel 'sales' is not in .* \(stored: demand\). Make it with `forecast ingest`"):
        store.load("sales")


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 101, "a b", "-flag"])
def test_a_name_that_cannot_be_a_folder_is_refused(name, store):
    with pytest.raises(ConfigError, match="cannot be a folder"):
        store.write(name, constant_panel(1))
    assert not store.root.exists()


def test_a_store_that_cannot_be_written_is_named(store):
    store.root.parent.mkdir(exist_ok=True)
    store.root.write_text("a file where a folder should be")
    with pytest.raises(StateError, match=r"panel 'demand' cannot be written to .*: (Not a directory|File exists)"):
        store.write("demand", constant_panel(1))
