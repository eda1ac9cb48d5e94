"""Files in, panels out: every fault reported, nothing half-written."""
