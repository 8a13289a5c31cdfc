"""Ablations, measurements and contact sheets that the docs quote."""
