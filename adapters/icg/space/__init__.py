"""A cover space fitted on one's own catalogue: reading, embedding, fitting, measuring. See docs/space.md."""
