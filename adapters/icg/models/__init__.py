"""The networks that a checkpoint holds: denoiser families, vision-language model, dual encoder, upscaler."""
