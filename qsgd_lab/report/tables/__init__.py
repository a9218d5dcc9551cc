"""Tables: columns, measures, entries; a new column is a measure in `cell_measures` or `method_measures`."""
