"""A run store as one HTML page that needs no network."""
