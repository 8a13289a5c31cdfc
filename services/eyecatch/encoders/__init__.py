"""User encoders that need a checkpoint: the Encoder port over icg. (The one that needs none is core.taste.MeanEncoder.)"""
