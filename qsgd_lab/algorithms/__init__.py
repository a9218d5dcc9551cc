"""How N nodes agree on one gradient."""
