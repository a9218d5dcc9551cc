"""Run records to rows, and rows to LaTeX, text, Markdown, CSV and JSON."""
