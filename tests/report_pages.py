"""A run whose page is hard to make: names that are markup, pictures, right to left, and longer than a phone is wide."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import Result
from conftest import CONFIG, TINY_SETTINGS
from typer.testing import CliRunner

from forecaster.cli import app

IDS = (
    "<script>alert(1)</script>",
    "\" onload='alert(2)' & <b>",
    "🚀 rocket $x^2$",
    "مبيعات المتجر",
    "a_name_without_any_blank_that_is_much_longer_than_a_phone_is_wide_" * 2,
)
OUTSIDER = "<img src=x onerror=alert(3)> 🚀 somebody else's"
DAYS, HORIZON = 150, 7


def type_words(home: Path, *words: object) -> Result:
    """`forecast WORDS…` with that home, in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], env={"FORECASTER_HOME": str(home), "COLUMNS": "100"})


def make_report_home(home: Path) -> Path:
    """A home with the run `shop` on a panel whose names are hard to show, scored beside somebody else's forecasts."""
    rng, days = np.random.default_rng(3), pd.date_range("2024-01-01", periods=DAYS)
    frames = []
    for k, unique_id in enumerate(IDS):
        values = 100 + 10 * k + 5 * np.sin(np.arange(DAYS) * 2 * np.pi / 7) + rng.normal(0, 2, DAYS)
        frames.append(pd.DataFrame({"unique_id": unique_id, "ds": days, "y": values}))
    frame = pd.concat(frames)
    frame.iloc[20:23, 2] = np.nan
    frame.to_csv(home / "shop.csv", index=False)
    assert type_words(home, "ingest", home / "shop.csv", "--name", "shop").exit_code == 0
    settings = [*TINY_SETTINGS, "--set", f"horizon={HORIZON}", "--set", "evaluation.origins=3"]
    done = type_words(home, "train", CONFIG, "--panel", "shop", "--name", "shop", *settings)
    assert done.exit_code == 0, done.output
    shutil.copytree(home / "runs" / "shop", home / "runs" / "unscored")
    origins = days[[DAYS - 1 - k * HORIZON for k in (1, 2, 3)]]
    rows = [
        (i, origin + pd.Timedelta(days=lead), origin, 100.0) for i in IDS for origin in origins for lead in range(1, HORIZON + 1)
    ]
    theirs = pd.DataFrame(rows, columns=["unique_id", "ds", "origin", "y"]).assign(forecaster=OUTSIDER)
    theirs.rename(columns={"y": "q0.5"}).to_csv(home / "theirs.csv", index=False)
    done = type_words(home, "evaluate", "shop", "--with", home / "theirs.csv")
    assert done.exit_code == 0, done.output
    return home
