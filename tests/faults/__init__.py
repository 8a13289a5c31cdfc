"""Faults of what Eyecatch stands on, one file each: what is promised meanwhile, and that all is well afterwards."""
