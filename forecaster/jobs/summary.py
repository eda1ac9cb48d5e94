"""What came of a night, for programs, for people, and for whoever has to be woken."""

import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from forecaster.jobs.home import Home
from forecaster.jobs.journal import Journal
from forecaster.jobs.whole import write_json, write_whole
from forecaster.operations.settings import HooksConfig

DONE, ATTENTION, ALARM, BUSY = 0, 10, 20, 75  # exit codes; 75 is sysexits' EX_TEMPFAIL: try again later
TELL = "tell"  # the step that comes after the summary, and is not in it
HAND_OVER = "hand over "  # what the steps of live states begin with
WORDS = {DONE: "done", ATTENTION: "needs a look", ALARM: "alarm", BUSY: "busy"}


@dataclass(frozen=True)
class Summary:
    """A night in one object: how bad it was, why, and what each step did and took."""

    panel: str
    night: str
    at: str
    severity: int
    troubles: tuple[str, ...]
    warnings: tuple[str, ...]
    seconds: dict[str, float]
    steps: dict[str, str]
    published: dict[str, Any]
    last_night: dict[str, Any] | None
    training: dict[str, Any]
    live: tuple[dict[str, Any], ...]
    sent: dict[str, Any]
    is_repeated: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it."""
        return asdict(self) | {"outcome": WORDS[self.severity]}


def sum_up(journal: Journal, *, now: datetime) -> Summary:
    """The summary of a journal.

    An alarm is a night without forecasts of its own, one that a finding stopped, or one whose data could not be taken in;
    attention is asked for held data, series that a baseline speaks for, and steps that failed.
    """
    steps = {name: step for name, step in journal.steps.items() if name != TELL}
    findings = journal.result("ingest").get("findings", [])
    published = journal.result("predict")
    warnings = [f"{finding['kind']}: {finding['told']}" for finding in findings if finding["severity"] == "warn"]
    troubles = [f"{finding['kind']}: {finding['told']}" for finding in findings if finding["severity"] != "warn"]
    troubles += [f"{name} failed: {step.result.get('error')}" for name, step in steps.items() if step.outcome == "failed"]
    troubles += published.get("troubles", [])
    if replaced := published.get("replaced"):
        first = next(iter(replaced.items()))
        troubles.append(f"{len(replaced):,} series get the baseline, such as {first[0]!r}: {first[1]}")
    is_alarm = not published or any(finding["severity"] == "stop" for finding in findings)
    decided, judged = journal.result("decide"), journal.result("evaluate")
    training = {
        "train": decided.get("train"),
        "reasons": decided.get("reasons"),
        "drift": decided.get("drift"),
        "run": journal.result("train").get("run"),
        "promoted": bool(journal.result("promote")),
        "verdict": judged.get("reasons"),
        "contest": judged.get("contest"),
    }
    return Summary(
        journal.panel,
        journal.night,
        now.isoformat(timespec="seconds"),
        ALARM if is_alarm else ATTENTION if troubles else DONE,
        tuple(troubles),
        tuple(warnings),
        {name: step.seconds for name, step in steps.items()},
        {name: step.outcome for name, step in steps.items()},
        {name: value for name, value in published.items() if name not in ("last_night", "troubles", "replaced")}
        | ({"replaced": len(published.get("replaced", {}))} if published else {}),
        published.get("last_night"),
        training,
        tuple(journal.result(name) for name, step in steps.items() if name.startswith(HAND_OVER) and step.outcome == "done"),
        journal.result("publish"),
        not journal.is_fresh,
    )


def write_summary(summary: Summary, journal: Journal, home: Home) -> None:
    """`summary.json` and `summary.md` of the night, `nights.ndjson`, one line a night, and `last`, which. Raises OSError."""
    write_json(journal.folder / "summary.json", summary.to_dict())
    write_whole(journal.folder / "summary.md", markdown(summary).encode())
    nights = home.nights / summary.panel
    lines = [orjson.dumps(orjson.loads(path.read_bytes())) for path in sorted(nights.glob("[0-9]*/summary.json"))]
    write_whole(nights / "nights.ndjson", b"".join(line + b"\n" for line in lines))
    write_whole(nights / "last", summary.night.encode())


def last_night(home: Home, panel: str) -> str | None:
    """The night that was done last, which a clock that jumps may call by any name; None before the first."""
    path = home.nights / panel / "last"
    return path.read_text() if path.exists() else None


def markdown(summary: Summary) -> str:
    """The night for people."""
    lines = [f"# {summary.panel}, night of {summary.night}: {WORDS[summary.severity]}", ""]
    lines += [f"* {text}" for text in (*summary.troubles, *(f"(warning) {warning}" for warning in summary.warnings))]
    published, last, training = summary.published, summary.last_night, summary.training
    if published:
        shares = ", ".join(f"{name} {count:,}" for name, count in published.get("speaks_for", {}).items())
        lines.append(
            f"* {published['rows']:,} forecasts of {published['series']:,} series by {published['forecaster']} "
            f"({published['run'] or 'no run'}{': ' + shares if shares else ''}), known through {published['known_through']}"
        )
    if "database" in summary.sent:
        lines.append("* {rows:,} rows in {database}, table {table}".format(**summary.sent["database"]))
    if "file" in summary.sent:
        lines.append(f"* sent to {summary.sent['file']}")
    if last:
        lines.append(
            f"* of the night of {last['night']}, {last['values']:,} values came: MASE {last['mase']:.3f}, "
            f"80 % interval held {100 * last['coverage_80']:.0f} %"
        )
    if training["reasons"]:
        lines.append(f"* training: {'yes' if training['train'] else 'no'}, {'; '.join(training['reasons'])}")
    if training["verdict"]:
        fate = "serves now" if training["promoted"] else "does not serve"
        lines.append(f"* challenger {training['run']} {fate}: {'; '.join(training['verdict'])}")
    lines += [f"* {text}" for state in summary.live if (text := _live_told(state))]
    lines += ["", "| step | outcome | seconds |", "| --- | --- | --- |"]
    lines += [f"| {name} | {outcome} | {summary.seconds[name]:.1f} |" for name, outcome in summary.steps.items()]
    return "\n".join(lines) + "\n"


def _live_told(state: dict[str, Any]) -> str:
    """What became of a live state; nothing where it had followed before."""
    if state["done"] == "made":
        return f"live state {state['state']} made for run {state['run']}, {state['series']:,} series"
    if state["done"] != "handed over":
        return ""
    moved = "" if state["moved"] is None else f"; the medians moved by {state['moved']:.0%} of the 80 % interval"
    return f"live state {state['state']} handed over from run {state['before']} to {state['run']}{moved}"


def call_hooks(summary: Summary, hooks: HooksConfig, home: Home, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Tell whoever asked: `on_failure` when the night needs somebody, `on_promote` when another run serves."""
    called = []
    if summary.severity != DONE and hooks.on_failure:
        called.append("on_failure")
        _call(hooks.on_failure, summary, hooks.timeout_seconds, home.path, say)
    if summary.training["promoted"] and hooks.on_promote:
        called.append("on_promote")
        _call(hooks.on_promote, summary, hooks.timeout_seconds, home.path, say)
    return {"called": called}


def _call(command: str, summary: Summary, timeout: float, folder: Path, say: Callable[[str], None]) -> None:
    """A command of the shell with the summary on stdin; what is wrong with it is told and costs nothing else."""
    try:
        done = subprocess.run(
            command,
            shell=True,
            input=orjson.dumps(summary.to_dict()),
            timeout=timeout,
            cwd=folder,
            capture_output=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"the hook {command!r} failed: {error}")
        return
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        say(f"the hook {command!r} ended with exit code {done.returncode}{': ' + said[-1] if said else ''}")
