"""Painted cells and fields with known truth."""
