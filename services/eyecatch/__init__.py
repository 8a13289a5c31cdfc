"""Eyecatch: the cover that makes each user stop and look. This package is everything that is served."""

__version__ = "0.1.0"
