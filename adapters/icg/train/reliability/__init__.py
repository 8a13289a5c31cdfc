"""Product images that can be used: the detector RFNet and the fine-tuning RFFT."""
