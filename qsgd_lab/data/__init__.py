"""Data sets as arrays with a fixed split."""
