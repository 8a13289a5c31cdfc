"""Training of the user encoder on histories and ratings."""
