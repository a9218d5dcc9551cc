"""Codes for levels: their lengths, and what a message costs."""
