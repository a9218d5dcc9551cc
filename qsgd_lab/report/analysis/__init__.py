"""Run records to groups, cells and verdicts."""
