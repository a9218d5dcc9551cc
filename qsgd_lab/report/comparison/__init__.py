"""Methods side by side: error or accuracy against bits, rounds and modelled time."""
