"""The papers' formulas as functions; numpy and scipy only."""
