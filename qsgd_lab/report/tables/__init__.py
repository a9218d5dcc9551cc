"""Cells to sheets: columns, measures and their entries."""
