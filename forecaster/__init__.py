"""A streaming forecaster: one global GRU, compared honestly, then stepped one observation at a time."""

__version__ = "0.1.0"
