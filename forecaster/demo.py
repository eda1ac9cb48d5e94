"""The main job shown on real data: the commands a user would type, typed.

The data ships with statsmodels: twelve quarterly series of the US economy, 1959 to 2009, and the weekly carbon dioxide of
Mauna Loa, 1958 to 2001, with the weeks in which nothing was measured.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pandas as pd
from rich.console import Console

from forecaster.errors import ForecasterError

CONFIG = """\
# What the demo trains: small, so that it ends soon. configs/default.yaml is the one to start from.
seed: 1
model:
  hidden_size: 64
  head_size: 128
  members: 1
training:
  max_steps: 800
evaluation:
  origins: 4
"""
LIVE_QUARTERS = 8  # of the macro panel, kept back to arrive one observation at a time
MARK = ".forecast-demo"  # tells a folder that the demo made from one that it must not touch


def show_demo(folder: Path) -> None:
    """Ingest, train, evaluate, predict, stream, stop and go on, in `folder`.

    Raises ForecasterError when the folder holds something else, or when the restarted stream differs from the unbroken one.
    """
    began = time.monotonic()
    _empty(folder)
    shell = _Shell(folder)
    feed = _write_data(folder)
    (folder / "demo.yaml").write_text(CONFIG, encoding="utf-8")
    shell.say(
        f"The commands below are the ones to type, with FORECASTER_HOME={folder}; `forecast` is in {Path(sys.executable).parent}."
    )
    for panel in ("macro", "co2"):
        shell.title(f"{panel}: from a file to forecasts")
        shell.forecast("ingest", f"{folder}/{panel}.csv", "--name", panel)
        shell.forecast("train", f"{folder}/demo.yaml", "--panel", panel, "--name", f"{panel}-demo")
        shell.forecast("evaluate", f"{panel}-demo")
        out, chart = f"{folder}/{panel}_forecasts.csv", f"{folder}/{panel}_forecasts.png"
        shell.forecast("predict", f"{panel}-demo", "--out", out, "--chart", chart)
        shell.forecast("report", f"{panel}-demo")
    shell.title("macro: one step of the network in numbers")
    shell.forecast("explain", "trace", "macro-demo", "--series", "cpi", "--at", "2007-04-01", "--steps", "1")
    shell.title("macro: one observation at a time, killed in the middle, and started again")
    whole = _live(shell, "macro-demo", feed, state=folder / "state" / "unbroken")
    half = len(feed) // 2
    first = _live(shell, "macro-demo", feed[:half], state=folder / "state" / "killed", kill=True)
    second = _live(shell, "macro-demo", feed[half:], state=folder / "state" / "killed")
    (folder / "live_forecasts.ndjson").write_bytes(b"".join(whole))
    if first + second != whole:
        raise ForecasterError("the stream that was killed and started again gave other forecasts than the unbroken one.")
    shell.say(
        f"{len(whole)} forecasts from the stream that never stopped, {len(first)} + {len(second)} from the one that was killed:"
    )
    shell.say("the same, byte for byte.")
    shell.title("what there is to look at")
    for path in sorted(folder.glob("runs/*/report.html")) + sorted(folder.glob("*_forecasts.*")):
        shell.say(str(path))
    shell.say(f"done in {time.monotonic() - began:.0f} s")


class _Shell:
    """Types commands, and shows them as they would be typed."""

    def __init__(self, folder: Path) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.environment = {**os.environ, "FORECASTER_HOME": str(folder), "PYTHONUNBUFFERED": "1"}

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def title(self, text: str) -> None:
        self.console.print(f"\n{text}", style="bold", markup=False)

    def show(self, words: list[str], tail: str = "") -> list[str]:
        self.console.print(f"$ forecast {shlex.join(words)}{tail}", style="cyan", markup=False)
        return [sys.executable, "-m", "forecaster", *words]

    def forecast(self, *words: str) -> None:
        """Run one command to its end; raises ForecasterError when it fails."""
        done = subprocess.run(self.show(list(words)), env=self.environment, check=False)
        if done.returncode:
            raise ForecasterError(
                f"`forecast {shlex.join(words)}` ended with exit code {done.returncode}; its words stand above."
            )


def _live(shell: _Shell, run: str, feed: list[bytes], *, state: Path, kill: bool = False) -> list[bytes]:
    """The forecasts that a stream gives to each observation, asked for one after the other; then its end, or kill -9."""
    words = ["stream", run, "--state", str(state)]
    tail = f"   # {len(feed)} observations, one at a time" + (", then kill -9" if kill else "")
    with subprocess.Popen(
        shell.show(words, tail), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=shell.environment
    ) as process:
        assert process.stdin
        assert process.stdout
        forecasts = []
        for line in feed:
            process.stdin.write(line)
            process.stdin.flush()
            forecasts.append(process.stdout.readline())
        if kill:
            process.kill()
        else:
            process.stdin.close()
    if not all(forecasts) or (process.returncode and not kill):
        raise ForecasterError(f"`forecast {shlex.join(words)}` ended with exit code {process.returncode} before its input did.")
    return forecasts


def _write_data(folder: Path) -> list[bytes]:
    """Write macro.csv and co2.csv; returns the last quarters of the macro panel as NDJSON lines."""
    from statsmodels.datasets import co2, macrodata

    macro = macrodata.load_pandas().data
    months = pd.DataFrame({"year": macro["year"], "month": 3 * macro["quarter"] - 2, "day": 1})
    wide = macro.drop(columns=["year", "quarter"]).set_index(pd.to_datetime(months))
    long = wide.rename_axis("ds").reset_index().melt("ds", var_name="unique_id", value_name="y")
    is_live = long["ds"] >= wide.index[-LIVE_QUARTERS]
    long[~is_live].to_csv(folder / "macro.csv", index=False)
    carbon = co2.load_pandas().data.rename_axis("ds").reset_index().rename(columns={"co2": "ppm"})
    carbon.to_csv(folder / "co2.csv", index=False)
    live = long[is_live].sort_values(["ds", "unique_id"])
    rows = zip(live["unique_id"], live["ds"].dt.strftime("%Y-%m-%d"), live["y"], strict=True)
    return [orjson.dumps({"unique_id": i, "ds": ds, "y": y}) + b"\n" for i, ds, y in rows]


def _empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ForecasterError(f"{folder} is a file; expected a folder. Give another place with --folder.")
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ForecasterError(f"{folder} holds files that no demo made. Give another place with --folder.")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
