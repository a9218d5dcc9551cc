"""Steps timed on real processes: over loopback, or over links that are shaped in network namespaces."""
