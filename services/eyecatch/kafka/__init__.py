"""Kafka: sources, producers, commits and dead letters that every process shares. Knows no store."""
