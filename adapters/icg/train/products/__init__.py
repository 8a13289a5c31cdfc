"""Fine-tuning on one product from few pictures (Fluence)."""
