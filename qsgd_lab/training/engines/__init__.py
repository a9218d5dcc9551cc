"""Per-node gradients: the engines, and which of them is used."""
