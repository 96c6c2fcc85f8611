"""Recipes in TOML, loaded by name."""
