"""``qsgd-lab runs``: stored runs listed, packed into one file, exported as data."""
