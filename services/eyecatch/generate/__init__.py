"""The slow path: jobs from the queue become covers in the pool. Knows ports, no model; only intake, announce and requests know Kafka."""
