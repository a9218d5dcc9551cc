"""Speed and size of this library beside what one would otherwise use, on the same levels."""
