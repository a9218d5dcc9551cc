"""Compressors that wrap another one; each file defines METHOD."""
