"""Tables: columns, entries, layout; a new column is in `columns_by_cell` or `columns_by_method`."""
