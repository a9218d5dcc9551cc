"""Compressors, one file a method, or a family of methods that shares its kernel; each defines METHOD."""
