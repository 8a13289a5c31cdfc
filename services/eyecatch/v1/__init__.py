"""Generated from protos/eyecatch/v1 by `make proto`."""
