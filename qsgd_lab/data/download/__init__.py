"""Downloads that resume, checked against a fingerprint."""
