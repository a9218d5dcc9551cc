"""Formulas of compressors, one file a method."""
