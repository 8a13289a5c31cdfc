"""Offline jobs: how good the rankings are, measured on stored behaviour. Knows no server."""
