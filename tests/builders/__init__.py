"""Builders of test data, importable by every test: images, scores, bundles, runs, validations."""
