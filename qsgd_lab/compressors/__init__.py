"""Gradient compressors, one file a method."""
