"""CIFAR-10: finding, fetching, reading and splitting it."""
