"""Implementations of the Generator port. They know models or servers, and no wire type of ours."""
