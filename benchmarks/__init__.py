"""Measurements of the budgets: each prints one JSON object as its last line."""
