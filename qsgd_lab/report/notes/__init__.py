"""Captions, legends and notes of a table."""
