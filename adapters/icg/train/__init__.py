"""Training recipes, one runnable file each. `python -m icg.train.starter` runs them all."""
