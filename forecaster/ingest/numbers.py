"""Values as they were written, as numbers."""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forecaster.series import Values

Decimal = Literal[".", ","]

LARGEST_VALUE = 1e30  # squares of what is larger leave float32
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "-", ".", "?", "missing", "<na>"})
THOUSANDS_COMMA = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
THOUSANDS_SPACE = re.compile(r"[+-]?\d{1,3}([ '_\u00a0\u202f]\d{3})+([.,]\d+)?")


@dataclass(frozen=True)
class Numbers:
    """Values [N], NaN where one is missing, and which of them were no numbers [N]."""

    values: Values
    is_bad: NDArray[np.bool_]


def parse_numbers(column: pa.ChunkedArray, decimal: Decimal = ".") -> Numbers:
    """The numbers in a column of numbers or text.

    >>> numbers = parse_numbers(pa.chunked_array([["1.5", " 2", "NA", "12,3", "x"]]))
    >>> numbers.values.tolist(), numbers.is_bad.tolist()
    ([1.5, 2.0, nan, nan, nan], [False, False, False, True, True])
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind):
        values = column.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)
        return Numbers(values, np.zeros(len(values), dtype=bool))
    return _parse_text(as_text(column), decimal)


def no_numbers(count: int) -> Numbers:
    """A column that is not there: every value is missing."""
    return Numbers(np.full(count, np.nan), np.zeros(count, dtype=bool))


def as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as trimmed text; nulls stay null."""
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        try:
            column = column.cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            texts = [None if value is None else str(value) for value in column.to_pylist()]
            column = pa.chunked_array([pa.array(texts, type=pa.string())])
    return pc.utf8_trim_whitespace(column)


def _parse_text(column: pa.ChunkedArray, decimal: Decimal) -> Numbers:
    if decimal == ",":
        column = pc.replace_substring(pc.replace_substring(column, ".", ""), ",", ".")
    filled = pc.if_else(pc.equal(pc.utf8_length(column), 0), "nan", pc.fill_null(column, "nan"))
    try:
        values = pc.cast(filled, pa.float64()).to_numpy()
        return Numbers(values, np.zeros(len(values), dtype=bool))
    except pa.ArrowInvalid:
        pass
    texts = filled.to_pandas().astype(object)
    is_missing = texts.str.lower().isin(MISSING).to_numpy()
    values = pd.to_numeric(texts.where(~is_missing, "nan"), errors="coerce").to_numpy(dtype=np.float64)
    return Numbers(values, np.isnan(values) & ~is_missing)


def why_no_number(text: str) -> str:
    """What a text that is no number looks like, and how it should be written.

    >>> why_no_number("1,234.50")
    "'1,234.50' has thousands separators; expected 1234.50"
    >>> why_no_number("3,5")
    "'3,5' has a decimal comma; expected 3.5, or pass --decimal ,"
    """
    if THOUSANDS_COMMA.fullmatch(text):
        or_comma = ", or pass --decimal , if it means a fraction" if re.fullmatch(r"[+-]?\d{1,3},\d{3}", text) else ""
        return f"{text!r} has thousands separators; expected {text.replace(',', '')}{or_comma}"
    if DECIMAL_COMMA.fullmatch(text):
        return f"{text!r} has a decimal comma; expected {text.replace(',', '.')}, or pass --decimal ,"
    if THOUSANDS_SPACE.fullmatch(text):
        digits = re.sub(r"[ '_\u00a0\u202f]", "", text)
        return f"{text!r} has thousands separators; expected {digits}"
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    return f"{shown!r} is no number; expected one such as 12.5"
