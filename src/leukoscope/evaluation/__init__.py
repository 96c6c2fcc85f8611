"""Functions of the score table: metrics, intervals, floors, figures, report."""
