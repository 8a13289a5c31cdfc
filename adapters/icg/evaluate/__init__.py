"""Measures of covers, users and products on held-out data, each beside its baseline and a shuffled control."""
