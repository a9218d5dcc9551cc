"""Commands that train, and that show stored runs."""
