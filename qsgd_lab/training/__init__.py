"""Per-node gradients, the training loop and its presets."""
