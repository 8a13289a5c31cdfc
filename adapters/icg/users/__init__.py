"""Users: an embedding from a history, also for a user with no history yet."""
