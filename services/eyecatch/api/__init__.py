"""The gRPC API over the core: servicers, the border to the wire (wire.py) and the border to status codes (status.py)."""
