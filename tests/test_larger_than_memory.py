"""A panel larger than the memory that a process may have is ingested, evaluated and forecast, to the same numbers."""

import json
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forecaster import paged
from forecaster.baselines import Baseline, BaselinesConfig, make_baselines
from forecaster.evaluation.answers import score_answers, stepped
from forecaster.evaluation.backtest import rolling_origins
from forecaster.ingest import PanelStore, ingest_files
from forecaster.series import Origins, Panel

resource = pytest.importorskip("resource", reason="there are no limits of memory here (no module `resource`)")
if not hasattr(resource, "RLIMIT_DATA") or not Path("/proc/self/statm").exists():
    pytest.skip("there is no RLIMIT_DATA, or no /proc to set it by", allow_module_level=True)

SERIES, ROWS, ROW_BYTES = 1_000, 2_000, 37  # 37 bytes a row: as an ingest puts it by
ALLOWED = 64 << 20  # bytes beyond those of the interpreter and its libraries
PROGRAM = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_larger_than_memory import go_with_little
print(json.dumps(go_with_little(Path(sys.argv[2]), Path(sys.argv[3]))))
"""
QUANTILES = tuple(round(q / 10, 1) for q in range(1, 10))
HORIZON, HOLDOUT = 336, 432


class AtOnce(NamedTuple):
    """How much is worked on together: rows of an ingest, series of an evaluation, positions of a prediction."""

    rows: int
    series: int
    positions: int
    in_memory: int  # bytes of an array that may be an ordinary one


LITTLE, ALL = AtOnce(1 << 14, 32, 1 << 15, 1 << 18), AtOnce(1 << 40, 1 << 40, 1 << 40, 1 << 60)


def ingest(feed: Path, folder: Path, at_once: AtOnce) -> list[object]:
    store = PanelStore(folder)
    report = ingest_files([str(feed)], "large", store=store, at_once=at_once.rows)
    return [store.load("large").fingerprint, report.positions]


def seasonal_naive(folder: Path, known: int) -> tuple[Panel, Baseline]:
    panel = PanelStore(folder).load("large")
    (unfitted,) = make_baselines(BaselinesConfig(names=("seasonal_naive",)))
    return panel, unfitted.fit(panel.drop_last(known))


def evaluate(feed: Path, folder: Path, at_once: AtOnce) -> dict[str, float]:
    panel, fitted = seasonal_naive(folder, HOLDOUT)
    stepper = fitted.stepper(panel.frequency, horizon=HORIZON, quantiles=QUANTILES)
    scores = score_answers(
        {"seasonal_naive": stepped(stepper, stepper.warm)},
        panel,
        origins=rolling_origins(panel, HOLDOUT, horizon=HORIZON, stride=48),
        horizon=HORIZON,
        quantiles=QUANTILES,
        season_length=24,
        reference="seasonal_naive",
        series_at_once=at_once.series,
    )
    for error in scores.failures.values():
        raise error
    return scores.group_means("seasonal_naive")


def predict(feed: Path, folder: Path, at_once: AtOnce) -> str:
    panel, fitted = seasonal_naive(folder, 0)
    digest = sha256()
    for block in panel.blocks(at_once.positions):
        some = panel.select(range(block.start, block.stop))
        digest.update(fitted.predict(some, HORIZON, quantiles=QUANTILES, origins=Origins.back(some)).values.tobytes())
    return digest.hexdigest()


def allow(more: int) -> None:
    """Let this process have so many bytes more than it has now, and no others."""
    pa.set_cpu_count(1)  # a thread's stack counts as well
    pa.set_io_thread_count(1)
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    allowed = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))


JOURNEYS = {"ingest": ingest, "evaluate": evaluate, "predict": predict}


def go_with_little(feed: Path, folder: Path) -> dict[str, Any]:
    """What comes of each journey in little memory, and which of them run out of it when they take all at once."""
    allow(ALLOWED)
    paged.IN_MEMORY = LITTLE.in_memory
    told: dict[str, Any] = {name: go(feed, folder, LITTLE) for name, go in JOURNEYS.items()}
    paged.IN_MEMORY = ALL.in_memory
    return {**told, "too much at once": [name for name, go in JOURNEYS.items() if runs_out(go, feed, folder)]}


def runs_out(go: Callable[[Path, Path, AtOnce], object], feed: Path, folder: Path) -> bool:
    try:
        go(feed, folder, ALL)
    except MemoryError:
        return True
    return False


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All series hour by hour, as a feed would bring them."""
    path = tmp_path_factory.mktemp("feed") / "large.parquet"
    random = np.random.default_rng(4)
    ids = pa.array([f"series {b:04}" for b in range(SERIES)])
    hours = pd.date_range("2024-01-01", periods=ROWS, freq="h").to_numpy().astype("datetime64[s]")
    schema = pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("s")), ("y", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for some in np.split(hours, ROWS // 100):
            codes = np.tile(np.arange(SERIES, dtype=np.int32), len(some))
            names = pa.DictionaryArray.from_arrays(codes, ids).cast(pa.string())
            values = random.normal(10, 1, len(codes)).round(2)
            writer.write_table(pa.table([names, np.repeat(some, SERIES), values], schema=schema))
    return path


def test_a_panel_larger_than_memory_gives_what_it_gives_with_plenty(feed: Path, tmp_path: Path) -> None:
    assert SERIES * ROWS * ROW_BYTES > ALLOWED
    words = [str(Path(__file__).parent), str(feed), str(tmp_path / "little")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-800:]
    little, plenty = json.loads(done.stdout), tmp_path / "plenty"
    assert little["ingest"] == ingest(feed, plenty, ALL)
    assert little["evaluate"] == pytest.approx(evaluate(feed, plenty, ALL), rel=1e-12, nan_ok=True)  # sums in another order
    assert little["predict"] == predict(feed, plenty, ALL)
    assert little["too much at once"] == ["ingest", "evaluate", "predict"]
