"""What was found as JSON can hold it."""

import math
from dataclasses import asdict, is_dataclass
from typing import Any


def plain(found: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists, and nothing in place of a number that is none or has no end.

    >>> plain({"half_life": math.inf, "series": (0.5, math.nan)})
    {'half_life': None, 'series': [0.5, None]}
    """
    if is_dataclass(found) and not isinstance(found, type):
        return plain(asdict(found))
    if isinstance(found, dict):
        return {name: plain(part) for name, part in found.items()}
    if isinstance(found, list | tuple):
        return [plain(part) for part in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found
