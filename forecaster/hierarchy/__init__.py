"""Sums of series, and forecasts of them that add up."""

from forecaster.hierarchy.reconciliation import METHODS, reconcile
from forecaster.hierarchy.tree import TOTAL, Hierarchy, read_tree, with_sums

__all__ = ["METHODS", "TOTAL", "Hierarchy", "read_tree", "reconcile", "with_sums"]
