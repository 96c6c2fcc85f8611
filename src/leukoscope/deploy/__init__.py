"""A trained network as a folder that predicts without PyTorch."""
