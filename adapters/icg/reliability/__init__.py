"""Whether a generated picture may be shown: RFNet, which says what is wrong with it (arXiv:2408.00418)."""
