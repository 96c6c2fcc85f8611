"""Figures, the page frame, one module per page, words: everything that draws or words records."""
