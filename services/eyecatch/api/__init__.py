"""The gRPC API: servicers, translation to messages (wire.py) and to status codes (status.py)."""
