"""Commands that measure the quantizer and its code against the theory."""
