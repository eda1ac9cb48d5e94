"""A home that nights are done in, one process each, and what lies in its inbox."""

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from forecaster.cli import app
from forecaster.jobs.journal import Journal

FIRST = pd.Timestamp("2016-11-01")
HISTORY = pd.Timestamp("2016-05-01")
PANEL, LIVE = "air", "state/air"
CONFIG = """\
horizon: 48
seed: 1
model: {hidden_size: 16, head_size: 32, members: 1}
training: {max_steps: 80, validation_steps: 20}
evaluation: {origins: 20, stride: 48}
baselines: {names: [naive, seasonal_naive, naive2, ses]}
operations:
  deliveries: {freq: h}
  report: false
  live: [state/air]
  publish: {to: $PLANNING, table: forecasts, folder: planning}
  retrain: {every_days: 7, max_minutes: null}
  hooks: {on_failure: "cat >> failures.ndjson; echo >> failures.ndjson", on_promote: "cat >> promotions.ndjson"}
"""


def day(truth: pd.DataFrame, number: int) -> pd.DataFrame:
    """The values of the day before night `number`."""
    end = FIRST + pd.Timedelta(days=number)
    return truth[(truth["ds"] >= end - pd.Timedelta(days=1)) & (truth["ds"] < end)].copy()


def deliver(home: Path, frame: pd.DataFrame, name: str) -> None:
    inbox = home / "data" / "inbox" / PANEL
    inbox.mkdir(parents=True, exist_ok=True)
    beside = inbox / f".{name}"
    frame.to_csv(beside, index=False)
    beside.rename(inbox / f"{name}.csv")


def scaled(frame: pd.DataFrame, factor: float, station: str | None = None) -> pd.DataFrame:
    chosen = frame["unique_id"] == station if station else frame["unique_id"].notna()
    return frame.assign(y=frame["y"].where(~chosen, frame["y"] * factor))


class Nights:
    """A home and its log: one line for each process that was started."""

    def __init__(self, folder: Path) -> None:
        self.home, self.config = folder, folder.parent / "nightly.yaml"
        self.log: list[dict[str, object]] = []
        self.published: dict[int, pd.DataFrame] = {}
        folder.mkdir()

    def words(self, number: int, *more: str, now: pd.Timestamp | None = None) -> list[str]:
        moment = now or FIRST + pd.Timedelta(days=number, hours=2)
        return ["nightly", str(self.config), "--panel", PANEL, "--now", moment.isoformat(), "--json", *more]

    def start(
        self, words: list[str], *, prepare: Callable[[], None] = lambda: None, limit: int | None = None
    ) -> tuple[int, int, int]:
        """A process that types a command: a fork of this one, so that what takes time to import is imported once.

        It speaks into pipes, which no limit to the size of a file concerns.
        """
        (out, to_out), (err, to_err) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid:
            os.close(to_out)
            os.close(to_err)
            return pid, out, err
        code = 1
        try:
            os.dup2(to_out, 1)
            os.dup2(to_err, 2)
            os.environ |= {"FORECASTER_HOME": str(self.home), "PLANNING": f"sqlite:///{self.home.resolve()}/planning.db"}
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            prepare()
            app(words)
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:  # noqa: BLE001 -- told, as the interpreter would
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def end(self, process: tuple[int, int, int], number: int, fault: str) -> dict[str, object]:
        """Wait for a process and log what it said, which is less than a pipe holds."""
        pid, out, err = process
        _, status, used = os.wait4(pid, 0)
        written, said = (os.read(pipe, 1 << 20).decode(errors="replace") for pipe in (out, err))
        os.close(out)
        os.close(err)
        line = {
            "night": number,
            "fault": fault,
            "exit": os.waitstatus_to_exitcode(status),
            "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
            "summary": json.loads(written) if written.strip() else {},
            "said": said.strip().splitlines(),
        }
        self.keep(number, line)
        with (self.home.parent / "log.ndjson").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(_row(line), flush=True)
        return line

    def keep(self, number: int, line: dict[str, object]) -> None:
        """Log a line, and what the night published first: later editions of it know more."""
        self.log.append(line)
        if line["summary"].get("published") and number not in self.published:
            self.published[number] = pd.read_parquet(self.home / "forecasts" / PANEL / "latest" / "forecasts.parquet")

    def do(self, number: int, fault: str = "", *more: str, limit: int | None = None, now: pd.Timestamp | None = None) -> dict:
        return self.end(self.start(self.words(number, *more, now=now), limit=limit), number, fault)

    def kill(self, number: int, step: str, moment: str) -> None:
        """Kill a night at a step: before its work, or when its work is done and nobody knows."""
        take = Journal.take

        def killed(journal: Journal, name: str, key: str, work: Callable[[], dict]) -> object:
            def last() -> dict:
                if moment == "after":
                    work()
                os.kill(os.getpid(), signal.SIGKILL)
                raise AssertionError

            return take(journal, name, key, last if name == step else work)

        self.end(
            self.start(self.words(number), prepare=lambda: setattr(Journal, "take", killed)), number, f"killed {moment} {step}"
        )

    def kill_in_training(self, number: int) -> None:
        """Kill a night as soon as its training has left a checkpoint."""
        process = self.start(self.words(number))
        while not list((self.home / "runs" / ".unfinished").glob("*/training/*/last.ckpt")):
            time.sleep(0.05)
        os.kill(process[0], signal.SIGKILL)
        self.end(process, number, "killed half through train")


def _row(line: dict) -> str:
    """A line of the log for people."""
    summary = line["summary"]
    training, published = summary.get("training") or {}, summary.get("published") or {}
    trained = ("trained" + ", promoted" * bool(training.get("promoted"))) if training.get("run") else ""
    word = "; ".join([*summary.get("troubles", [])[:2], *([] if summary or not line["exit"] else line["said"][-1:])])
    speaker = published.get("forecaster", "-")
    columns = f"{line['night']:>3}  {line['exit']:>4}  {line['cpu_seconds']:>5}  {line['fault'] or '-':<34}"
    return f"{columns} {speaker:<15} {trained:<18} {word[:110]}"
