"""What operators look at: logs, health and the metrics page."""
