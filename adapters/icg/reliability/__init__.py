"""Whether a generated picture may be shown: RFNet, which classifies what is wrong with it (arXiv:2408.00418)."""
