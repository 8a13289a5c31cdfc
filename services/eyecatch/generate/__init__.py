"""The slow path: jobs from the queue become covers in the pool. Knows no wire and no model, only ports."""
