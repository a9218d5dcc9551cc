"""Figures of stored runs, one a file."""
