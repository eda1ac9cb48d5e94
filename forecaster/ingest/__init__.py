"""Files in, panels out: every fault reported, nothing half-written."""

from forecaster.ingest.faults import Fault, FaultGroup, Faults, FaultyDataError, IngestPolicies
from forecaster.ingest.panels import ingest_files, read_panel
from forecaster.ingest.report import IngestReport
from forecaster.ingest.schema import ColumnNames
from forecaster.ingest.store import Manifest, PanelStore

__all__ = [
    "ColumnNames",
    "Fault",
    "FaultGroup",
    "Faults",
    "FaultyDataError",
    "IngestPolicies",
    "IngestReport",
    "Manifest",
    "PanelStore",
    "ingest_files",
    "read_panel",
]
