"""Covariates and what never changes, from a file to a forecast and a stream, as typed."""

from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast

AHEAD = 14  # the horizon of days
COLUMNS = ("--known", "price", "--known", "promo", "--static", "region")


@pytest.fixture
def shops(tmp_path: Path) -> Path:
    """Four shops, the last rows without sales, of which price and promotion are known."""
    random = np.random.default_rng(0)
    days = pd.date_range("2024-01-01", periods=90 + AHEAD)
    parts = []
    for b in range(4):
        frame = pd.DataFrame({"unique_id": f"shop_{b}", "ds": days, "y": random.normal(30, 2, len(days)).round(2)})
        frame.loc[90:, "y"] = np.nan
        parts.append(
            frame.assign(price=random.integers(5, 9, len(days)), promo=random.integers(0, 2, len(days)), region="ns"[b % 2])
        )
    pd.concat(parts).to_csv(tmp_path / "shops.csv", index=False)
    return tmp_path / "shops.csv"


def trained(forecast: Forecast, shops: Path, *settings: str) -> str:
    assert forecast("ingest", shops, "--name", "shops", *COLUMNS).exit_code == 0
    done = forecast("train", CONFIG, "--panel", "shops", "--name", "shops", *TINY_SETTINGS, *settings)
    assert done.exit_code == 0, done.output
    return str(done.stderr)


def test_a_run_with_covariates_forecasts_where_they_are_known(forecast: Forecast, shops: Path) -> None:
    said = trained(forecast, shops)
    assert "beside the values, the network sees the calendar (week), price, promo, region" in " ".join(said.split())
    done = forecast("predict", "shops", "--out", "out.csv")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv("out.csv")) == 4 * AHEAD
    assert forecast("evaluate", "shops").exit_code == 0
    further = forecast("predict", "shops", "--horizon", str(AHEAD + 1))
    assert further.exit_code == 2
    told = further.stderr.splitlines()[-1]
    assert told.startswith("DataError  series 'shop_0' and 3 more: price is unknown at 2024-04-14 00:00:00, lead 15 of 15; ")


def test_a_run_with_covariates_is_no_run_for_streams(forecast: Forecast, shops: Path) -> None:
    trained(forecast, shops)
    refused = forecast("stream", "shops", feed="")
    assert refused.exit_code == 2
    assert refused.stderr.splitlines()[-1] == (
        "ConfigError  run 'shops' forecasts with covariates (price, promo), and a feed carries values alone. "
        "Train a run for streams with --set inputs.known=[], or forecast with `forecast predict`."
    )


def test_calendar_and_what_never_changes_stream(forecast: Forecast, shops: Path) -> None:
    trained(forecast, shops, "--set", "inputs.known=[]", "--set", "inputs.country=DE")
    feed = "".join(f'{{"unique_id": "shop_{b}", "ds": "2024-03-31", "y": 31.5}}\n' for b in range(4))
    done = forecast("stream", "shops", feed=feed)
    assert done.exit_code == 0, done.output
    live = {row["unique_id"]: row for row in map(orjson.loads, done.stdout.splitlines())}
    frame = pd.read_csv(shops)
    frame.loc[frame["ds"] == "2024-03-31", "y"] = 31.5
    frame.to_csv(shops, index=False)
    assert forecast("ingest", shops, "--name", "shops", *COLUMNS).exit_code == 0
    assert forecast("predict", "shops", "--out", "out.csv").exit_code == 0
    batch = pd.read_csv("out.csv")
    for unique_id, rows in batch.groupby("unique_id"):
        assert live[unique_id]["q0.5"] == rows["q0.5"].tolist()
