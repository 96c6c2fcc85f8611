"""What a figure shows, for tests."""

import matplotlib


def list_texts(figure):
    """All text that a figure shows, drawn once so that tick labels exist."""
    figure.canvas.draw()
    found = figure.findobj(matplotlib.text.Text)
    return " | ".join(t.get_text() for t in found if t.get_text() and t.get_visible())
