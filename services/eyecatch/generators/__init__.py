"""Implementations of the Generator port. They know models or servers, but none of our messages."""
