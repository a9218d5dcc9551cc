"""Training algorithms: the update of the parameters by N nodes."""
