"""User encoders of a checkpoint: the Encoder port on icg. core/behaviour/mean_encoder.py needs no checkpoint."""
