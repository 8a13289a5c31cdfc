"""Behaviour events from Kafka into profiles: read, absorb, only then commit. Knows the stores as ports only."""
