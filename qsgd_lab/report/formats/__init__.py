"""Sheets as LaTeX, text, Markdown, CSV and JSON."""
