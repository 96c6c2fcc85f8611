"""The CoAtNet family: one spec, a table of presets, a plain module."""
