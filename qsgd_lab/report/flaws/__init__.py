"""The effects of the flaws of a published protocol."""
