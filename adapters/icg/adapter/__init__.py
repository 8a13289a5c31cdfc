"""The adapter: meta tokens, the refiner by the user's embedding, and the connector between a language model and a denoiser."""
