"""Published forecasts in SQLite and in a real PostgreSQL: upserted, whole or not at all."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Forecast as Typed

from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.jobs.home import Home
from forecaster.jobs.publish import forecast_table
from forecaster.jobs.sql import COLUMNS, published_table, write_sql

sql = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed: pip install 'forecaster[sql]'")

NIGHT = datetime(2024, 5, 1, 2, tzinfo=UTC)
FREQUENCIES = {
    "numbered": Frequency("step", is_numbered=True),
    "plain": Frequency("D"),
    "zoned": Frequency("h", "Europe/Berlin"),
}


def rows(frequency: Frequency, *, add: float = 0.0, made_at: datetime = NIGHT, later: int = 0) -> pa.Table:
    """Two series, three leads, nine deciles; the hours of `zoned` lie around a change to summer time."""
    origin = later + (475_511 if frequency.alias == "h" else 19_800)
    values = np.arange(2 * 3 * 9, dtype=np.float64).reshape(2, 3, 9) + add
    deciles = tuple(round(0.1 * k, 1) for k in range(1, 10))
    made = Forecast(("a", "b's"), np.array([origin, origin]), deciles, values, frequency, {})
    return forecast_table(made, forecasters=["gru", "ses"], models=["m1", "m1"], made_at=made_at, known_position=origin)


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL of our own on a free port, and its address."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(p) for p in [shutil.which("initdb")] if p]
    if not found:
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'forecaster[sql]'")
    owner = None  # initdb refuses to be root
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("no user postgres to run the server as: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="forecaster-postgres-"))
    if owner:
        shutil.chown(folder, owner)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def control(program: str, *words: str) -> None:
        log = folder / "said"
        command = [str(found[-1].with_name(program)), *words]
        done = subprocess.run(command, user=owner, cwd=folder, capture_output=program == "initdb", check=False, timeout=240)
        assert done.returncode == 0, (command, done.stderr, log.read_text() if log.exists() else "")

    try:
        control("initdb", "-D", str(folder / "data"), "-U", "planner", "-A", "trust", "-E", "UTF8", "--no-sync")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off -c timezone=Asia/Tokyo"
        control("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "said"), "-s", "-w", "-t", "200", "-o", options, "start")
        yield f"postgresql://planner:secret@127.0.0.1:{port}/postgres"
    finally:
        with contextlib.suppress(AssertionError):
            control("pg_ctl", "-D", str(folder / "data"), "-s", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as address:
        yield address


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'forecasts.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres")


@pytest.fixture
def table(request: pytest.FixtureRequest) -> str:
    """A table of this test's own."""
    return "t_" + "".join(c if c.isalnum() else "_" for c in request.node.name)[-50:].lower()


def read(address: str, table: str) -> list[dict[str, object]]:
    """The rows of a table, by plain SQL."""
    engine = sql.create_engine(address.replace("postgresql:", "postgresql+psycopg:"), poolclass=sql.pool.NullPool)
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET TIME ZONE 'UTC'")
        found = connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY unique_id, ds, origin").mappings().all()
    engine.dispose()
    return [dict(row) for row in found]


def as_utc_text(value: object) -> str:
    """A time as a reader in UTC sees it, whether the database knows zones or keeps text."""
    text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    return text.removesuffix("+00:00").removesuffix(".000000")


@pytest.mark.parametrize("kind", FREQUENCIES)
def test_a_table_holds_what_was_published(address: str, table: str, kind: str) -> None:
    published = rows(FREQUENCIES[kind])
    written = write_sql(published, address, table)
    assert (written.rows, written.kept_later, written.table) == (6, 0, table)
    assert "secret" not in written.database
    found = read(address, table)
    assert list(found[0]) == list(COLUMNS)
    for row, told in zip(found, published.to_pylist(), strict=True):
        for name in COLUMNS:
            expected = told[name]
            if isinstance(expected, datetime):
                expected = expected.astimezone(UTC) if expected.tzinfo else expected
                assert as_utc_text(row[name]) == as_utc_text(expected), name
            else:
                assert row[name] == expected, name


def test_writing_twice_changes_nothing_and_a_later_forecast_takes_the_place(address: str, table: str) -> None:
    daily = FREQUENCIES["plain"]
    write_sql(rows(daily), address, table)
    before = read(address, table)
    assert write_sql(rows(daily), address, table).kept_later == 0
    assert read(address, table) == before
    write_sql(rows(daily, add=100.0, made_at=NIGHT.replace(hour=3)), address, table)
    assert [row["q0.5"] for row in read(address, table)] == [row["q0.5"] + 100 for row in before]
    assert write_sql(rows(daily, add=-1.0), address, table).kept_later == 6  # an old edition, given again
    assert [row["q0.5"] for row in read(address, table)] == [row["q0.5"] + 100 for row in before]
    write_sql(rows(daily, later=1), address, table)
    assert len(read(address, table)) == 12


def test_rows_are_written_whole_or_not_at_all(address: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forecaster.jobs.sql.ROWS_AT_ONCE", 2)

    class Ended(Exception):
        pass

    def end_in_the_middle(done: int, total: int, word: str) -> None:
        if done >= 4:
            raise Ended

    with pytest.raises(Ended):
        write_sql(rows(FREQUENCIES["plain"]), address, table, progress=end_in_the_middle)
    with pytest.raises(sql.exc.DatabaseError):  # not even an empty table
        read(address, table)
    write_sql(rows(FREQUENCIES["plain"]), address, table)
    before = read(address, table)
    with pytest.raises(Ended):
        write_sql(rows(FREQUENCIES["plain"], add=9.0), address, table, progress=end_in_the_middle)
    assert read(address, table) == before


def test_another_table_is_left_alone(address: str, table: str) -> None:
    write_sql(rows(FREQUENCIES["plain"]), address, table)
    with pytest.raises(DataError, match=r"has ds as .*, and these forecasts have BIGINT. Name another with --table"):
        write_sql(rows(FREQUENCIES["numbered"]), address, table)
    engine = sql.create_engine(address.replace("postgresql:", "postgresql+psycopg:"), poolclass=sql.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE {table}_x (id INTEGER PRIMARY KEY)")
        names = ", ".join(f'"{name}" {"TIMESTAMP" if name in ("ds", "origin") else "TEXT"}' for name in COLUMNS)
        connection.exec_driver_sql(f"CREATE TABLE {table}_y ({names}, PRIMARY KEY (unique_id))")
    engine.dispose()
    with pytest.raises(DataError, match="has no column 'unique_id'; expected unique_id, ds"):
        write_sql(rows(FREQUENCIES["plain"]), address, f"{table}_x")
    with pytest.raises(DataError, match=r"has the key \(unique_id\); expected \(unique_id, ds, origin, forecaster\)"):
        write_sql(rows(FREQUENCIES["plain"]), address, f"{table}_y")


def test_a_schema_may_stand_before_the_table(postgres: str) -> None:
    engine = sql.create_engine(postgres.replace("postgresql:", "postgresql+psycopg:"), poolclass=sql.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA planning")
    engine.dispose()
    for _ in range(2):
        write_sql(rows(FREQUENCIES["zoned"]), postgres, "planning.forecasts")
    assert len(read(postgres, "planning.forecasts")) == 6


def test_a_server_that_is_not_there_is_told_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed: pip install 'forecaster[sql]'")
    with pytest.raises(DataError, match=r"postgresql://me:\*\*\*@127.0.0.1:1/x, table t: nothing was written \(") as told:
        write_sql(rows(FREQUENCIES["plain"]), "postgresql://me:secret@127.0.0.1:1/x", "t")
    assert "secret" not in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("to", "name", "words"),
    [
        ("mysql://me:secret@host/x", "t", "is no database; expected sqlite:///FILE or postgresql://"),
        ("forecasts.db", "t", "--to 'forecasts.db' is no database"),
        ("sqlite:///x.db", "t; DROP TABLE x", "is no name of a table"),
    ],
)
def test_an_address_or_a_table_that_is_none_is_refused(to: str, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")) as told:
        write_sql(rows(FREQUENCIES["plain"]), to, name)
    assert "secret" not in str(told.value)


def test_a_file_that_holds_no_forecasts_is_refused(tmp_path: Path) -> None:
    home, path = Home(tmp_path), tmp_path / "x.parquet"
    with pytest.raises(ConfigError, match="'sales' is neither a file nor a panel with forecasts under"):
        published_table("sales", home)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="is no readable Parquet file"):
        published_table(str(path), home)
    good = rows(FREQUENCIES["plain"])
    pq.write_table(good.drop_columns(["origin"]), path)
    with pytest.raises(DataError, match="has no column 'origin'; expected unique_id, ds, origin"):
        published_table(str(path), home)
    pq.write_table(pa.concat_tables([good, good.slice(4, 1)]), path)
    with pytest.raises(DataError, match=r'series "b\'s", .* by ses is there twice; expected one row'):
        published_table(str(path), home)


def test_forecasts_of_predict_go_in_too_and_what_they_lack_is_null(forecast: Typed, home: Path) -> None:
    assert forecast("predict", "tiny", "--out", "said.parquet").exit_code == 0
    for _ in range(2):
        done = forecast("publish", "said.parquet", "--to", "sqlite:///said.db", "--json")
        assert done.exit_code == 0, done.output
    found = read(f"sqlite:///{home / 'said.db'}", "forecasts")
    said = pq.read_table(home / "said.parquet").sort_by([("unique_id", "ascending"), ("ds", "ascending")]).to_pylist()
    assert [row["q0.5"] for row in found] == [row["q0.5"] for row in said]
    assert {row["made_at"] for row in found} == {None}


def test_the_latest_edition_of_a_panel_is_found_by_its_name(tmp_path: Path) -> None:
    latest = tmp_path / "forecasts" / "sales" / "latest"
    latest.mkdir(parents=True)
    published = rows(FREQUENCIES["zoned"])
    pq.write_table(published, latest / "forecasts.parquet")
    assert published_table("sales", Home(tmp_path)).equals(published)


def test_a_missing_library_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ConfigError, match=r"pip install 'forecaster\[sql\]'"):
        write_sql(rows(FREQUENCIES["plain"]), "sqlite:///x.db", "t")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError, match=r"needs a driver that is not installed. pip install 'forecaster\[sql\]'"):
        write_sql(rows(FREQUENCIES["plain"]), "postgresql://127.0.0.1:1/x", "t")
