"""From smear fields to white cells and a differential count, without PyTorch."""
