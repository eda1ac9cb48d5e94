"""What the tests of the command line share: a real panel, a tiny run trained on it, and a way to type commands."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: threads of two workers wait for each other

import gc
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from click.testing import Result
from statsmodels.datasets import macrodata
from typer.testing import CliRunner

from forecaster.cli import app
from forecaster.ingest import PanelStore

CONFIG = Path(__file__).parent.parent / "configs" / "default.yaml"
TINY = ["max_steps=5", "batch_size=2", "window_length=32"]
TINY_SETTINGS = [
    *(word for setting in TINY for word in ("--set", f"training.{setting}")),
    *("--set", "model.members=1", "--set", "model.hidden_size=4", "--set", "model.head_size=8"),
    *("--set", "baselines.names=[naive, ses, naive2]"),
]
LIVE_QUARTERS = 8

Forecast = Callable[..., Result]


def pytest_collection_finish() -> None:
    """What imports left stays out of sight of the garbage collector, which took a twelfth of all time to look at it again."""
    gc.collect()
    gc.freeze()


def type_words(home: Path, words: Sequence[str], feed: str | None = None) -> Result:
    """What `forecast WORDS…` comes to in a home, in this process."""
    return CliRunner().invoke(
        app, [str(word) for word in words], input=feed, env={"FORECASTER_HOME": str(home), "COLUMNS": "100"}
    )


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home, with a blank in its name, that holds the panel `macro` and the run `tiny`; later.csv follows the panel's end."""
    home = tmp_path_factory.mktemp("a home")
    table = macrodata.load_pandas().data
    months = pd.DataFrame({"year": table["year"].astype(int), "month": 3 * table["quarter"].astype(int) - 2, "day": 1})
    wide = table[["realgdp", "cpi", "infl"]].set_index(pd.to_datetime(months)).rename_axis("ds").reset_index()
    long = wide.melt("ds", var_name="unique_id", value_name="y")
    is_later = long["ds"] >= wide["ds"].iloc[-LIVE_QUARTERS]
    long[~is_later].to_csv(home / "macro.csv", index=False)
    long[is_later].to_csv(home / "later.csv", index=False)
    assert type_words(home, ["ingest", home / "macro.csv", "--name", "macro"]).exit_code == 0
    done = type_words(home, ["train", CONFIG, "--panel", "macro", "--name", "tiny", *TINY_SETTINGS])
    assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def home(trained_home: Path, tmp_path: Path) -> Path:
    """A copy of the trained home that a test may spoil."""
    return Path(shutil.copytree(trained_home, tmp_path / "my home"))


@pytest.fixture
def forecast(home: Path, monkeypatch: pytest.MonkeyPatch) -> Forecast:
    """`forecast WORDS…` typed in the home, in this process."""
    monkeypatch.chdir(home)
    return lambda *words, feed=None: type_words(home, words, feed)


@pytest.fixture
def store(tmp_path: Path) -> PanelStore:
    return PanelStore(tmp_path / "panels")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], str]:
    """Writes a file, and says where it is."""

    def to_file(name: str, text: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return to_file
