"""Functions of the score table: metrics, intervals, baselines, figures, report."""
