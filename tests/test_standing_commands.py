"""Champions that fall back, through the commands: in a stream, in its state, and in `predict` after the same was ingested."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from conftest import Forecast

from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home

QUARTERS = 40


def drifting(home: Path) -> pd.DataFrame:
    """Quarters after the panel's end in which `infl` gets a season that only a seasonal naive can follow."""
    panel = PanelStore(Home(home).panels).load("macro")
    rows = []
    for b, unique_id in enumerate(panel.ids):
        at = panel.frequency.labels(panel.ends[b] + 1 + np.arange(QUARTERS))
        season = 1_000.0 * np.tile([0.0, 5.0, -3.0, 9.0], QUARTERS // 4) if unique_id == "infl" else np.zeros(QUARTERS)
        y = panel.series(b)[-1] + season
        rows.append(pd.DataFrame({"unique_id": unique_id, "ds": at, "y": y}))
    return pd.concat(rows)


def test_a_champion_off_its_coverage_falls_back_in_the_stream_and_in_predict_alike(forecast: Forecast, home: Path) -> None:
    assert forecast("evaluate", "tiny", "--json").exit_code == 0
    path = home / "runs" / "tiny" / "evaluation" / "champions.parquet"
    table = pd.read_parquet(path)
    for place, name in enumerate(("naive", "ses", "gru", "naive2")):  # who is champion, and who the runner-up, of every series
        table[f"loss_of_{name}"] = 1.0 + place
    table.to_parquet(path, index=False)
    later = drifting(home)
    lines = [json.dumps({"unique_id": i, "ds": str(ds), "y": y}) for i, ds, y in later.sort_values("ds").to_numpy()]
    stream = ("stream", "tiny", "--forecaster", "champions", "--every", "0", "--json")
    done = forecast(*stream, feed="\n".join(lines[:60]) + "\n")
    assert done.exit_code == 0, (done.output, done.exception)
    done = forecast(*stream, feed="\n".join(lines[60:]) + "\n")  # a restart in between
    speaking = json.loads(done.stderr.splitlines()[-1])["speaking"]
    assert speaking["champion"] == 2
    assert speaking["stand_in"] == 1
    assert speaking["off_coverage"] == 1

    told = json.loads(forecast("state", "inspect", "state/tiny", "--series", "infl", "--json").stdout)
    assert "is off its coverage; " in told["speaking"]
    assert "speaking" not in json.loads(forecast("state", "inspect", "state/tiny", "--series", "cpi", "--json").stdout)
    assert "speaking: champion 2, " in forecast("state", "inspect", "state/tiny").output
    live = json.loads(forecast("predict", "--live", "state/tiny", "--out", "live.parquet", "--json").stdout)
    assert live["notes"] == {"infl": told["speaking"]}

    later.to_csv(home / "drifted.csv", index=False)
    assert forecast("ingest", "drifted.csv", "--name", "macro").exit_code == 0
    batch = json.loads(forecast("predict", "tiny", "--forecaster", "champions", "--out", "batch.parquet", "--json").stdout)
    assert batch["notes"]["infl"] == told["speaking"]
    assert told["speaking"] == "naive is off its coverage; the stand-in speaks for it"
    assert forecast("predict", "tiny", "--forecaster", "seasonal_naive", "--out", "instead.parquet").exit_code == 0
    said, expected = (pd.read_parquet(home / f"{name}.parquet").query("unique_id == 'infl'") for name in ("batch", "instead"))
    np.testing.assert_array_equal(said.filter(like="q0").to_numpy(), expected.filter(like="q0").to_numpy())
