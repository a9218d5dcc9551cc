"""The doctor command and its findings."""
