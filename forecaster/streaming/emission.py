"""Which observations ask for a forecast, and the forecasts of a micro-batch in the order in which they were asked for."""

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.stepping import Indices

Part = tuple[Indices, Positions, NDArray[np.int64], Values]  # indices of observations, origins, values seen, forecasts


def asks_for_forecast(config: StreamingConfig, y: Values, *, counts: NDArray[np.int64], origins: Positions) -> NDArray[np.bool_]:
    """Which observations y [N] ask for a forecast, given how many values their series have shown, and where these stand now.

    >>> config = StreamingConfig(emit_every=2)
    >>> asks_for_forecast(config, np.array([1.0, 1.0, np.nan]), counts=np.array([3, 4, 4]), origins=np.array([7, 7, 8])).tolist()
    [False, True, False]
    """
    every = config.emit_every
    if every == 1:
        asks = np.ones(len(y), dtype=bool)
    else:
        asks = ~np.isnan(y) & (counts % every == 0) if every else np.zeros(len(y), dtype=bool)
    return np.asarray(asks & (origins % config.emit_at == 0))


def in_order(parts: list[Part]) -> Part:
    """The parts of several turns as one, in the order of the observations."""
    if len(parts) == 1:
        return parts[0]
    index, origins, counts, values = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(index)
    return index[order], origins[order], counts[order], values[order]
