"""Fuzz targets, one a parser; each starts with its invariant."""
