"""Fits over many series: in parallel, with their warnings collected and their failures told."""

import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import process_time

import numpy as np
import pandas as pd

from forecaster.baselines.naive import naive_spread
from forecaster.baselines.parameters import Job, Numbers, Sample
from forecaster.baselines.store import FitStore
from forecaster.series import Panel

Progress = Callable[[int, int, str], None]
FitSeries = Callable[[Sample], Numbers]

LONGEST_HISTORY = 5_000  # values that parameters are estimated from, the latest ones; states see them all
COMMON_COLUMNS = (
    "model",
    "fallback",
    "remark",
    "season_length",
    "sigma_naive",
    "sigma_seasonal",
)  # what every method's table has
WORTH_NAMING_SECONDS = 2.0  # from when on progress names the slowest series
WORTH_PROCESSES_SECONDS = 4.0  # a process that imports statsmodels takes about 2 s to start


class FitFailure(Exception):
    """Why a series cannot be fitted; it falls back to the seasonal naive forecast."""


class OutOfTime(Exception):
    """The time for the fit of a series is over; a search that has found something keeps it."""


@dataclass(frozen=True)
class SeriesFit:
    """What happened when one series was fitted; `warnings` counts the texts that statsmodels and numpy gave.

    `seconds` are those of the processor for the fit, also where it was kept from an earlier one.
    """

    unique_id: str
    model: str
    is_converged: bool
    seconds: float
    warnings: dict[str, int]
    fallback: str | None
    remark: str | None = None  # what is worth knowing of a fit that is used

    @property
    def warning_count(self) -> int:
        return sum(self.warnings.values())


def fit_each(
    fit_series: FitSeries,
    panel: Panel,
    *,
    season_length: int,
    jobs: int,
    seconds_each: float,
    max_seconds: float | None,
    progress: Callable[[int, int, str], None],
    store: FitStore | None = None,
) -> tuple[pd.DataFrame, tuple[SeriesFit, ...]]:
    """Parameters, one row for each series in the order of the panel, and what happened to each.

    Processes are used when more than one job is allowed and the work, at `seconds_each`, outweighs their start. What the store
    holds is not fitted again. `progress` is told of the slowest series, where one took long.
    """
    work = [
        Job(unique_id, panel.series(b), int(panel.starts[b]), season_length, max_seconds) for b, unique_id in enumerate(panel.ids)
    ]
    kept = store.read(work) if store else {}
    found = {unique_id: (numbers, SeriesFit(unique_id, **facts)) for unique_id, (numbers, facts) in kept.items()}
    missing = [job for job in work if job.unique_id not in found]
    is_parallel = jobs > 1 and len(missing) > 1 and len(missing) * seconds_each > WORTH_PROCESSES_SECONDS
    results = _in_processes(fit_series, missing, jobs) if is_parallel else (fit_job(fit_series, job) for job in missing)
    slowest = ("", WORTH_NAMING_SECONDS)
    for count, (job, (numbers, report)) in enumerate(zip(missing, results, strict=True), start=len(found) + 1):
        found[job.unique_id] = numbers, report
        if store:
            store.add(job, numbers, {name: value for name, value in asdict(report).items() if name != "unique_id"})
        slowest = max(slowest, (job.unique_id, report.seconds), key=lambda pair: pair[1])
        progress(count, len(work), f", slowest {slowest[0]} {slowest[1]:.0f} s" if slowest[0] else "")
    rows = [found[unique_id][0] for unique_id in panel.ids]
    index = pd.Index(panel.ids, name="unique_id", dtype=object)
    table = pd.DataFrame(rows, index=index, columns=None if rows else list(COMMON_COLUMNS))
    return table, tuple(found[unique_id][1] for unique_id in panel.ids)


def fit_job(fit_series: FitSeries, job: Job) -> tuple[Numbers, SeriesFit]:
    """The numbers of one series, or why it has to fall back; nothing is raised and nothing is warned."""
    began = process_time()
    numbers: Numbers = {"model": "seasonal naive", "fallback": "no value was observed"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if np.isfinite(job.values).any():
            try:
                with _time_limit(job.max_seconds):
                    numbers = {**fit_series(Sample(job.values, job.start, job.season_length)), "fallback": ""}
            except OutOfTime:
                numbers["fallback"] = f"the fit took longer than {job.max_seconds:g} s"
            except FitFailure as reason:
                numbers["fallback"] = str(reason)
            except Exception as error:  # noqa: BLE001 - statsmodels fails in ways of its own, and one series must not stop the rest
                numbers["fallback"] = (
                    f"the fit failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
                )
    is_finite = all(isinstance(value, str) or np.isfinite(value) for value in numbers.values())
    if not is_finite:
        numbers = {"model": "seasonal naive", "fallback": "the fit gave parameters that are not finite"}
    is_converged = bool(numbers.pop("is_converged", 1.0)) and not numbers["fallback"]
    numbers.setdefault("remark", "")
    report = SeriesFit(
        job.unique_id,
        str(numbers["model"]),
        is_converged,
        process_time() - began,
        dict(Counter(f"{warning.category.__name__}: {warning.message}" for warning in caught)),
        str(numbers["fallback"]) or None,
        str(numbers["remark"]) or None,
    )
    return {**numbers, "season_length": float(job.season_length), **naive_spread(job.values, job.season_length)}, report


@contextmanager
def _time_limit(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime inside after so many seconds of the processor; only in a main thread and where the system has timers.

    Not seconds of the wall: on a machine that does other work, those would make fits worse the more it does.
    """
    if not seconds or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # and again, where statsmodels swallowed it or a last fit takes long
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _in_processes(fit_series: FitSeries, work: list[Job], jobs: int) -> Iterator[tuple[Numbers, SeriesFit]]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=jobs, return_as="generator", batch_size=4)(delayed(fit_job)(fit_series, job) for job in work)


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
