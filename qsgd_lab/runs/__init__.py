"""Configurations, the plan of a sweep, and the store of its runs."""
