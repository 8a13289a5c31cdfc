"""What tests of several folders share."""

from tests.unit.ingest.helpers import topic

__all__ = ["topic"]
