"""One live forecaster for all baselines, and the walk through a panel that batch and stream share."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.memory import MEMORY_WIDTHS, begin_memory, is_credible, remember, seasonal_naive_paths
from forecaster.baselines.recursion import Recursion, width_of
from forecaster.baselines.vector import Fields, Layout, from_state, to_state
from forecaster.forecast import State
from forecaster.frequency import Positions
from forecaster.series import Origins, Panel, Values

RULES = 1  # raise it when a recursion or its layout changes: state stepped by other rules must be refused
ROWS_AT_ONCE = 8_192


@dataclass(frozen=True)
class Paths:
    """What is said of some rows: mean and standard deviation [B, L], and where the seasonal naive had to say it [B]."""

    mean: Values
    scale: Values
    is_instead: NDArray[np.bool_]


@dataclass(frozen=True)
class BaselineStepper:
    """A `Stepper` whose series carry their own fitted parameters in their state, beside the numbers of the recursion.

    `parameters` has a row for each series that was fitted (`Baseline.to_frame`, indexed by unique_id). Series that no fit has
    seen begin with what the recursion pools from them: median weights, no season but a factor that most share, and a spread that
    is found from their own errors. Until that gives a finite forecast they speak as the seasonal naive does.
    """

    name: str
    recursion: Recursion
    season_length: int
    horizon: int
    quantiles: tuple[float, ...]
    parameters: pd.DataFrame = field(repr=False, compare=False)

    @cached_property
    def layout(self) -> Layout:
        """Where each number lies: what every series remembers, then what this recursion moves."""
        widths = {**MEMORY_WIDTHS, **self.recursion.widths}
        return Layout({name: width_of(width, self.season_length) for name, width in widths.items()})

    @property
    def state_size(self) -> int:
        return self.layout.state_size

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the rules, the settings, and any fitted parameter."""
        settings = (RULES, self.name, self.season_length, self.horizon, self.quantiles)
        digest = hashlib.sha256(repr(settings).encode())
        table = self.parameters.sort_index()
        for name in sorted(map(str, table)):
            column = table[name].to_numpy()
            words = column.astype("<f8").tobytes() if column.dtype.kind in "fiub" else repr(column.tolist()).encode()
            digest.update(name.encode() + words)
        digest.update(repr(table.index.tolist()).encode())
        return f"{self.name}-{digest.hexdigest()[:12]}"

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series that no fit has seen."""
        one = self.first_vectors(pd.DataFrame([self._pooled]), np.zeros(1, dtype=np.int64))
        return to_state(np.repeat(one, count, axis=0))

    def step(self, state: State, y: Values, position: Positions) -> State:
        vectors = from_state(state)
        if np.shares_memory(vectors, state):
            vectors = vectors.copy()
        self.move(self.layout.fields(vectors), y, position)
        return to_state(vectors)

    def forecast(self, state: State, position: Positions) -> Values:
        return self.quantile_values(self.paths(self.layout.fields(from_state(state)), position, self.horizon))

    def warm(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel, each series with its own parameters where it was fitted."""
        vectors = self.first_vectors(self.parameters.reindex(list(panel.ids)), panel.starts)
        unseen = np.flatnonzero(~pd.Index(panel.ids, dtype=object).isin(self.parameters.index))
        if len(unseen):
            vectors[unseen] = from_state(self.initial_state(len(unseen)))
        warm = np.empty_like(vectors)
        for rows, some in self.walk(panel, vectors, Origins(np.arange(len(panel)), panel.lengths)):
            warm[rows] = some
        return to_state(warm)

    # -- what batch and stream share -------------------------------------------------------------------------------------

    def first_vectors(self, parameters: pd.DataFrame, starts: Positions) -> Values:
        """The vectors [B, size] of series with these parameters, before their first position."""
        vectors = np.zeros((len(parameters), self.layout.size))
        fields = self.layout.fields(vectors)
        begin_memory(fields, parameters)
        self.recursion.begin(fields, parameters, starts)
        return vectors

    def move(self, fields: Fields, y: Values, position: Positions) -> None:
        """Take the values y [B] at positions [B] into the fields."""
        with np.errstate(all="ignore"):  # what is not finite is found when a forecast is asked for
            y = np.where(np.isfinite(y), y, np.nan)
            fields["begun"][:] = np.where(np.isnan(fields["begun"]), position, fields["begun"])
            self.recursion.step(fields, y, position)
            remember(fields, y, position)

    def paths(self, fields: Fields, position: Positions, horizon: int) -> Paths:
        """The recursion's paths [B, L], or the seasonal naive's where there was no fit or they cannot be believed."""
        with np.errstate(all="ignore"):
            mean, scale = self.recursion.paths(fields, position, horizon)
            instead = (fields["has_fallback"] > 0) | ~is_credible(fields, mean, scale)
            if instead.any():
                naive_mean, naive_scale = seasonal_naive_paths(fields, position, horizon)
                mean, scale = (np.where(instead[:, None], *pair) for pair in ((naive_mean, mean), (naive_scale, scale)))
        return Paths(mean, scale, instead)

    def quantile_values(self, paths: Paths) -> Values:
        """Gaussian quantiles [B, L, Q] about the mean, which is the median."""
        places = [NormalDist().inv_cdf(q) if q != 0.5 else None for q in self.quantiles]
        with np.errstate(all="ignore"):
            return np.stack([paths.mean if z is None else paths.mean + z * paths.scale for z in places], axis=2)

    def walk(self, panel: Panel, vectors: Values, origins: Origins) -> Iterator[tuple[NDArray[np.int64], Values]]:
        """Rows [R] of the origins, and the vectors [R, size] of their series there, some at a time, in one walk.

        Origins of which nothing is known come first. Steps are those of `step`, so the vectors are those of a stream to the bit.
        """
        lanes = np.argsort(-panel.lengths, kind="stable")
        live, firsts, starts = vectors[lanes], panel.offsets[:-1][lanes], panel.starts[lanes]
        place = np.argsort(lanes)[origins.index]
        due = np.argsort(origins.known, kind="stable")
        longest = int(panel.lengths.max(initial=0))
        alive = np.searchsorted(-panel.lengths[lanes], -np.arange(longest), side="left")  # series longer than t
        bounds = np.searchsorted(origins.known[due], np.arange(longest + 2))
        waiting: list[tuple[NDArray[np.int64], Values]] = []
        for t in range(longest + 1):
            if t:
                b = slice(0, int(alive[t - 1]))
                self.move(self.layout.fields(live[b]), panel.values[firsts[b] + t - 1], starts[b] + t - 1)
            seen = due[bounds[t] : bounds[t + 1]]
            if len(seen):
                waiting.append((seen, live[place[seen]]))
            if waiting and (t == longest or sum(len(rows) for rows, _ in waiting) >= ROWS_AT_ONCE):
                yield np.concatenate([rows for rows, _ in waiting]), np.concatenate([some for _, some in waiting])
                waiting = []

    @cached_property
    def _pooled(self) -> dict[str, float | str]:
        """The parameters of a series that no fit has seen."""
        fitted = self.parameters[self.parameters["fallback"] == ""] if "fallback" in self.parameters else self.parameters
        if not len(fitted):
            return {"fallback": "no series was fitted"}
        return {"fallback": "", **self.recursion.pool(fitted)}
