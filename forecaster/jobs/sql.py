"""Published forecasts in a table of somebody else's database, by SQLAlchemy: upserted in one transaction.

A row is known by (unique_id, ds, origin, forecaster). Writing the same forecasts twice changes nothing, and a forecast never
takes the place of one that was made later.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from forecaster.errors import ConfigError, DataError
from forecaster.forecast import DECILES, quantile_column
from forecaster.jobs.home import Home

KEY = ("unique_id", "ds", "origin", "forecaster")
TIMES = ("ds", "origin", "known_through")
QUANTILES = tuple(quantile_column(quantile) for quantile in DECILES)
COLUMNS = ("unique_id", "ds", "origin", "lead", "forecaster", *QUANTILES, "model", "made_at", "known_through")
NEEDED = (*KEY, "lead", quantile_column(0.5))
DIALECTS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
TABLE_NAME = re.compile(r"([A-Za-z_]\w{0,62}\.)?[A-Za-z_]\w{0,62}", re.ASCII)
ROWS_AT_ONCE = 5_000
CONNECT_SECONDS, WAIT_SECONDS = 15, 60  # to reach a server, and for a table that somebody else has locked

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Written:
    """What came of it: where the rows went, how many there were, and how many the table has a later forecast for."""

    database: str
    table: str
    rows: int
    kept_later: int


def published_table(source: str, home: Home) -> pa.Table:
    """The rows of COLUMNS in a Parquet file, or in the latest edition of a panel; what a file lacks beside NEEDED is null.

    Raises ConfigError when there is neither, DataError for a file that holds no forecasts, or one row twice.
    """
    path, latest = Path(source), home.forecasts / source / "latest" / "forecasts.parquet"
    if not path.is_file() and latest.is_file():
        path = latest
    if not path.is_file():
        raise ConfigError(
            f"{source!r} is neither a file nor a panel with forecasts under {home.forecasts}. Give a .parquet file of "
            "`forecast predict --out`, or the name of a panel that `forecast nightly` has forecast."
        )
    try:
        schema = pq.read_schema(path)
        if missing := [name for name in NEEDED if name not in schema.names]:
            raise DataError(f"{path} has no column {missing[0]!r}; expected {', '.join(NEEDED)}. Give a file of forecasts.")
        table = pq.read_table(path, columns=[name for name in COLUMNS if name in schema.names])
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is no readable Parquet file ({_told(error)}). Give one, or write it again.") from error
    _check_times(table, path)
    for name in COLUMNS:
        if name not in table.column_names:
            null = pa.nulls(table.num_rows, table.schema.field("ds").type if name in TIMES else _type_of(name))
            table = table.append_column(name, null)
    _check_key(table, path)
    return table.select(list(COLUMNS))


def write_sql(table: pa.Table, address: str, name: str, *, progress: Progress | None = None) -> Written:
    """Upsert published rows into a table, made where there is none: all of them or, when anything fails, none.

    `address` is `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`, as SQLAlchemy reads it. Raises ConfigError for an address
    or a name that is none, and where SQLAlchemy is not installed, DataError when the table is another one or cannot be written.
    """
    sql = _sqlalchemy()
    if not TABLE_NAME.fullmatch(name):
        raise ConfigError(f"--table {name!r} is no name of a table; use letters, digits and underscores, or SCHEMA.TABLE.")
    engine, shown = _engine(sql, address)
    target = _table(sql, name, table.schema)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'")
            _check_table(sql, connection, target, shown)
            target.create(connection, checkfirst=True)
            upsert, written = _upsert(sql, engine.dialect.name, target), 0
            for done, rows in _row_batches(table, has_zones=engine.dialect.name != "sqlite"):
                if progress:
                    progress(done, table.num_rows, "rows")
                written += connection.execute(upsert, rows, execution_options={"preserve_rowcount": True}).rowcount
    except sql.exc.SQLAlchemyError as error:
        raise DataError(
            f"{shown}, table {name}: nothing was written ({_told(error)}). See that the database is up and lets you write there, "
            "and give the command again."
        ) from error
    finally:
        engine.dispose()
    return Written(shown, name, table.num_rows, table.num_rows - written)


# -- the table ---------------------------------------------------------------------------------------------------------------


def _table(sql: ModuleType, name: str, schema: pa.Schema) -> Any:
    """The published schema as a table; times are numbers, times of a zone, or plain times, as in the rows."""
    time = schema.field("ds").type
    kind = sql.BigInteger() if pa.types.is_integer(time) else sql.DateTime(timezone=time.tz is not None)
    types = {"lead": sql.Integer(), "made_at": sql.DateTime(timezone=True)} | dict.fromkeys(TIMES, kind)
    types |= {column: sql.Double() for column in QUANTILES}
    schema_name, _, plain = name.rpartition(".")
    columns = [
        sql.Column(column, types.get(column, sql.Text()), primary_key=column in KEY, nullable=column not in NEEDED)
        for column in COLUMNS
    ]
    columns[COLUMNS.index(quantile_column(0.5))].nullable = True  # a series may lack its forecast
    return sql.Table(plain, sql.MetaData(), *columns, schema=schema_name or None)


def _upsert(sql: ModuleType, dialect: str, target: Any) -> Any:
    """Insert, or take the place of a row of the same key that was not made later."""
    from sqlalchemy.dialects import postgresql, sqlite

    insert = (sqlite if dialect == "sqlite" else postgresql).insert(target)
    came, there = insert.excluded.made_at, target.c.made_at
    return insert.on_conflict_do_update(
        index_elements=list(KEY),
        set_={column: insert.excluded[column] for column in COLUMNS if column not in KEY},
        where=sql.or_(there.is_(None), came >= there),
    )


def _check_table(sql: ModuleType, connection: Any, target: Any, shown: str) -> None:
    """Raises DataError when a table of that name is there and is not one of published forecasts."""
    inspector = sql.inspect(connection)
    if not inspector.has_table(target.name, schema=target.schema):
        return
    place = f"{shown}: table {target.fullname}"
    there = {column["name"]: column["type"] for column in inspector.get_columns(target.name, schema=target.schema)}
    if missing := [column for column in COLUMNS if column not in there]:
        raise DataError(f"{place} has no column {missing[0]!r}; expected {', '.join(COLUMNS)}. Name another with --table.")
    for column in ("ds", "origin"):
        if _kind(sql, there[column]) != _kind(sql, target.c[column].type):
            raise DataError(
                f"{place} has {column} as {there[column]}, and these forecasts have {target.c[column].type}. "
                "Name another with --table for this panel."
            )
    key = inspector.get_pk_constraint(target.name, schema=target.schema)["constrained_columns"]
    unique = inspector.get_unique_constraints(target.name, schema=target.schema)
    if not any(set(found) == set(KEY) for found in (key, *(one["column_names"] for one in unique))):
        raise DataError(f"{place} has the key ({', '.join(key)}); expected ({', '.join(KEY)}). Name another with --table.")


def _kind(sql: ModuleType, column_type: Any) -> str:
    """What a column of times counts in: integer, time or zoned time; SQLite knows no zones."""
    if isinstance(column_type, sql.Integer):
        return "integer"
    return "time" if isinstance(column_type, (sql.DateTime, sql.TIMESTAMP)) else str(column_type)


# -- the rows ----------------------------------------------------------------------------------------------------------------


def _row_batches(table: pa.Table, *, has_zones: bool) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Rows as dictionaries, so many at once, with how many came before; times of a zone are in UTC, NaN is null."""
    plain = []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("us", "UTC" if field.type.tz else None), safe=False)
            column = column if has_zones or not field.type.tz else column.cast(pa.timestamp("us"))
        elif pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_finite(column), column, pa.scalar(None, field.type))
        plain.append(column)
    whole = pa.table(plain, names=list(table.column_names))
    done = 0
    for batch in whole.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield done, batch.to_pylist()
        done += batch.num_rows


def _check_times(table: pa.Table, path: Path) -> None:
    """Raises DataError when times are neither timestamps nor step numbers."""
    for name in TIMES:
        kind = table.schema.field(name).type if name in table.column_names else pa.int64()
        if not (pa.types.is_timestamp(kind) or pa.types.is_integer(kind)):
            raise DataError(f"{path} has {name} as {kind}; expected timestamps or step numbers. Write it with `--out x.parquet`.")


def _check_key(table: pa.Table, path: Path) -> None:
    """Raises DataError when two rows have one key, or a key is not whole: the second would overwrite the first."""
    for name in KEY:
        if table[name].null_count:
            row = int(np.flatnonzero(table[name].is_null().to_numpy(zero_copy_only=False))[0])
            raise DataError(f"{path}, row {row + 1}: {name} is empty; expected one for each forecast. Mend the file.")
    counts = table.select(list(KEY)).group_by(list(KEY)).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        series, ds, _, forecaster = (twice[name][0].as_py() for name in KEY)
        raise DataError(f"{path}: series {series!r}, {ds} by {forecaster} is there twice; expected one row. Mend the file.")


def _type_of(name: str) -> pa.DataType:
    if name in QUANTILES:
        return pa.float64()
    return pa.timestamp("us", "UTC") if name == "made_at" else pa.string()


# -- the database ------------------------------------------------------------------------------------------------------------


def _sqlalchemy() -> ModuleType:
    try:
        import sqlalchemy
    except ImportError:
        raise ConfigError("--to needs SQLAlchemy, which is not installed. Install it: pip install 'forecaster[sql]'.") from None
    return sqlalchemy


def _engine(sql: ModuleType, address: str) -> tuple[Any, str]:
    """An engine, and the address as it may be shown: without its password."""
    try:
        url = sql.make_url(address)
        driver = DIALECTS[url.drivername.partition("+")[0]]
    except (sql.exc.ArgumentError, KeyError):
        shown = re.sub(r"//.*@", "//…@", address)
        raise ConfigError(
            f"--to {shown!r} is no database; expected sqlite:///FILE or postgresql://USER@HOST/DATABASE. Write it like that."
        ) from None
    url = url if "+" in url.drivername else url.set(drivername=driver)
    shown = url.set(drivername=driver.partition("+")[0]).render_as_string(hide_password=True)
    if driver.startswith("postgresql") and "connect_timeout" not in url.query:
        url = url.update_query_dict({"connect_timeout": str(CONNECT_SECONDS)})  # a server that is away does not answer at all
    try:
        engine = sql.create_engine(url, poolclass=sql.pool.NullPool)
    except (ImportError, sql.exc.SQLAlchemyError):
        raise ConfigError(f"--to {shown} needs a driver that is not installed. pip install 'forecaster[sql]'") from None
    if engine.dialect.name == "sqlite":
        _begin_by_word(sql, engine)
    return engine, shown


def _begin_by_word(sql: ModuleType, engine: Any) -> None:
    """Let SQLite begin when told to: Python's driver leaves a CREATE TABLE outside of the transaction."""

    def leave_it_to_us(connection: Any, record: Any) -> None:  # noqa: ARG001
        connection.isolation_level = None

    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sql.event.listen(engine, "connect", leave_it_to_us)
    sql.event.listen(engine, "begin", begin)


def _told(error: BaseException) -> str:
    """The first line of what the database itself said."""
    own = getattr(error, "orig", None) or error
    return (str(own).strip().splitlines() or [type(own).__name__])[0].rstrip(".")
