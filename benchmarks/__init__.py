"""Measurements of the budgets: each prints one JSON object as its last line."""

import json
from collections.abc import Mapping
from typing import Any


def report(figures: Mapping[str, Any]) -> None:
    """Print figures (numbers, or dicts of them) by name, a line each, then all as one JSON object."""
    rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
    for name, value in rounded.items():
        print(f"{name:28} {value}")
    print(json.dumps(rounded))
