"""Which images show the same source: fingerprints, cache, matching, grouping, search."""
