"""Wiring: each process (serve, ingest, generate) is put together here from settings."""
