"""The slow path: jobs from the queue become covers in the pool. Knows no model, only ports; Kafka in intake, announce and requests."""
