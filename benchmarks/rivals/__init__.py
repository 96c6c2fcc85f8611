"""Rivals: ours against what people would use, measured in one run on one machine."""
