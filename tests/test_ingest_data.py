"""Real files, as they come."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.ingest import FaultyDataError, IngestPolicies, PanelStore, ingest_files, read_panel

DATA = Path(os.environ.get("FORECASTER_DATA", Path(__file__).parents[2] / "shared" / "data"))
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"lacks the data folder {DATA}; set FORECASTER_DATA")

PLAIN = [
    *(
        "m4_hourly_train",
        "m4_weekly_train",
        "m4_quarterly_dev_train",
        "m4_monthly_short_selfsplit_train",
        "tourism_monthly_train",
    ),
    *("m4_hourly_test", "etth1", "beijing_pm25_dev"),
]


@pytest.mark.parametrize("name", PLAIN)
def test_a_clean_file_goes_in_and_comes_back_value_for_value(name, tmp_path):
    path = DATA / f"{name}.parquet"
    store = PanelStore(tmp_path)
    report = ingest_files([str(path)], name, store=store)
    frame = pd.read_parquet(path).sort_values(["unique_id", "ds"])
    panel = store.load(name)
    np.testing.assert_array_equal(panel.values, frame["y"].to_numpy(dtype=np.float64))
    np.testing.assert_array_equal(panel.to_frame()["ds"].to_numpy(), frame["ds"].to_numpy())
    assert report.share_explained == 1
    again = ingest_files([str(path)], name, store=store)
    assert (again.added, again.revised, again.fingerprint) == (0, 0, report.fingerprint)


def test_actuals_follow_the_training_part(tmp_path):
    store = PanelStore(tmp_path)
    frequency = ingest_files([str(DATA / "m4_hourly_train.parquet")], "hourly", store=store, freq="h").frequency
    train, test = store.load("hourly"), read_panel([str(DATA / "m4_hourly_test.parquet")], like=frequency)
    assert train.ids == test.ids
    np.testing.assert_array_equal(test.starts, train.ends + 1)
    assert set(test.lengths) == {48}


def test_revisions_keep_the_last_word(tmp_path):
    path = DATA / "nyc_covid_revisions_dev.parquet"
    store = PanelStore(tmp_path)
    with pytest.raises(FaultyDataError, match="--duplicates first, last or mean"):
        ingest_files([str(path)], "covid", store=store)
    report = ingest_files([str(path)], "covid", store=store, policies=IngestPolicies(duplicates="last"))
    frame = pd.read_parquet(path).drop_duplicates(["unique_id", "ds"], keep="last").sort_values(["unique_id", "ds"])
    np.testing.assert_array_equal(store.load("covid").values, frame["y"].to_numpy(dtype=np.float64))
    assert report.ignored_columns == ("arrival",)


def test_irregular_series_go_in_by_policy_and_choice(tmp_path):
    path = str(DATA / "nab_gaps_dev.parquet")
    store = PanelStore(tmp_path)
    with pytest.raises(FaultyDataError, match=r"11 series step by 5min .*1 series step by h .*--only GLOB"):
        ingest_files([path], "nab", store=store)
    policies = IngestPolicies(duplicates="mean", misaligned="floor")
    report = ingest_files([path], "fast", store=store, policies=policies, only=["realAWS*", "*machine*", "*rogue*", "*latency*"])
    assert (report.frequency.alias, report.series) == ("5min", 11)
    slow = ingest_files([path], "slow", store=store, policies=policies, only=["*ambient*"])
    assert (slow.frequency.alias, slow.series, slow.missing) == ("h", 1, slow.gaps_filled)
