"""Networks, named so that nobody can mistake them."""
