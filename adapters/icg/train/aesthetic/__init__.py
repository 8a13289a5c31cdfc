"""Training of the aesthetic reward on degraded pictures."""
