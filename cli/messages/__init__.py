"""Commands that write, read and show messages."""
