"""Fits over many series: in parallel, with their warnings collected and their failures told."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from forecaster.baselines.naive import naive_spread
from forecaster.baselines.parameters import Numbers, Sample
from forecaster.series import Panel, Values

Progress = Callable[[int, int, str], None]
FitSeries = Callable[[Sample], Numbers]

LONGEST_HISTORY = 5_000  # values that parameters are estimated from, the latest ones; states see them all
COMMON_COLUMNS = ("model", "fallback", "season_length", "sigma_naive", "sigma_seasonal")  # what every method's table has
WORTH_PROCESSES_SECONDS = 4.0  # a process that imports statsmodels takes about 2 s to start


class FitFailure(Exception):
    """Why a series cannot be fitted; it falls back to the seasonal naive forecast."""


@dataclass(frozen=True)
class SeriesFit:
    """What happened when one series was fitted; `warnings` counts the texts that statsmodels and numpy gave."""

    unique_id: str
    model: str
    is_converged: bool
    seconds: float
    warnings: dict[str, int]
    fallback: str | None

    @property
    def warning_count(self) -> int:
        return sum(self.warnings.values())


@dataclass(frozen=True)
class Job:
    """One series to fit, as it travels to a worker process."""

    unique_id: str
    values: Values
    start: int
    season_length: int
    max_seconds: float | None


def fit_each(
    fit_series: FitSeries,
    panel: Panel,
    *,
    season_length: int,
    jobs: int,
    seconds_each: float,
    max_seconds: float | None,
    progress: Callable[[int, int], None],
) -> tuple[pd.DataFrame, tuple[SeriesFit, ...]]:
    """Parameters, one row for each series in the order of the panel, and what happened to each.

    Processes are used when more than one job is allowed and the work, at `seconds_each`, outweighs their start.
    """
    work = [
        Job(unique_id, panel.series(b), int(panel.starts[b]), season_length, max_seconds) for b, unique_id in enumerate(panel.ids)
    ]
    is_parallel = jobs > 1 and len(work) > 1 and len(work) * seconds_each > WORTH_PROCESSES_SECONDS
    rows, reports = [], []
    for numbers, report in _in_processes(fit_series, work, jobs) if is_parallel else (fit_job(fit_series, job) for job in work):
        rows.append(numbers)
        reports.append(report)
        progress(len(rows), len(work))
    index = pd.Index(panel.ids, name="unique_id", dtype=object)
    return pd.DataFrame(rows, index=index, columns=None if rows else list(COMMON_COLUMNS)), tuple(reports)


def fit_job(fit_series: FitSeries, job: Job) -> tuple[Numbers, SeriesFit]:
    """The numbers of one series, or why it has to fall back; nothing is raised and nothing is warned."""
    began = perf_counter()
    deadline = began + job.max_seconds if job.max_seconds else float("inf")
    numbers: Numbers = {"model": "seasonal naive", "fallback": "no value was observed"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if np.isfinite(job.values).any():
            try:
                numbers = {**fit_series(Sample(job.values, job.start, job.season_length, deadline)), "fallback": ""}
            except FitFailure as reason:
                numbers["fallback"] = str(reason)
            except Exception as error:  # noqa: BLE001 - statsmodels fails in ways of its own, and one series must not stop the rest
                numbers["fallback"] = (
                    f"the fit failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
                )
    is_finite = all(isinstance(value, str) or np.isfinite(value) for value in numbers.values())
    if not is_finite:
        numbers = {"model": "seasonal naive", "fallback": "the fit gave parameters that are not finite"}
    report = SeriesFit(
        job.unique_id,
        str(numbers["model"]),
        bool(numbers.pop("is_converged", 1.0)) and not numbers["fallback"],
        perf_counter() - began,
        dict(Counter(f"{warning.category.__name__}: {warning.message}" for warning in caught)),
        str(numbers["fallback"]) or None,
    )
    return {**numbers, "season_length": float(job.season_length), **naive_spread(job.values, job.season_length)}, report


def _in_processes(fit_series: FitSeries, work: list[Job], jobs: int) -> Iterator[tuple[Numbers, SeriesFit]]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=1):
        yield from Parallel(n_jobs=jobs, return_as="generator", batch_size=4)(delayed(fit_job)(fit_series, job) for job in work)


def usable_cores() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
