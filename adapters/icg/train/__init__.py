"""Training recipes, one runnable file each. `python -m icg.train.starter.recipe` runs them all."""
