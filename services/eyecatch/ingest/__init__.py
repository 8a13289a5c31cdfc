"""Behaviour events from Kafka into profiles: read, absorb, then commit. Knows stores only as ports."""
