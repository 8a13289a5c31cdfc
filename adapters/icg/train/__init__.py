"""Training recipes, one runnable file each. `icg train starter` runs them all."""
