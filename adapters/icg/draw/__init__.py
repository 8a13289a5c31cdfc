"""Drawing a cover: conditions, the sampler and the pipeline from a brief to a picture. Training uses the same sampler."""
