"""Pretraining of the connector: a frozen language model learns to speak to a frozen denoiser."""
