"""Painted cells or fields, as files."""

from pathlib import Path

from leukoscope.errors import ConfigError
from leukoscope.progress import Progress, silent


def paint_set(
    out: str | Path,
    *,
    n_sources: int | None = None,
    copies: int | None = None,
    n_fields: int | None = None,
    n_samples: int | None = None,
    overlap_frac: float | None = None,
    size_px: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Path:
    """Paint single cells or, with `n_fields`, whole fields; return the path of the table.

    Arguments that are not given are those of `save_painted` and `save_fields`. A field is
    `size_px` wide and three quarters of that high, its scale such that it shows as much of the
    smear whatever its size. Raises `ConfigError` for arguments of the one with the other, and what
    the two raise.
    """
    of_cells = {"sources": n_sources, "copies": copies}
    of_fields = {"samples": n_samples, "overlap": overlap_frac}
    wrong = of_fields if n_fields is None else of_cells
    given = [f"--{name}" for name, value in wrong.items() if value is not None]
    if given:
        raise ConfigError(
            "cells are painted with --sources and --copies, fields with --samples and --overlap",
            f"{', '.join(given)} {'without' if n_fields is None else 'with'} --fields",
            "leave one of them out",
        )
    if n_fields is None:
        from leukoscope.painted.cells import save_painted

        return save_painted(
            out,
            160 if n_sources is None else n_sources,
            copies=4 if copies is None else copies,
            size_px=96 if size_px is None else size_px,
            seed=seed,
            on_progress=lambda done, total: progress("Painting cells", done, total),
        )
    from leukoscope.painted.field_sets import save_fields

    width = 640 if size_px is None else size_px
    return save_fields(
        out,
        n_fields,
        n_samples=1 if n_samples is None else n_samples,
        overlap_frac=0.0 if overlap_frac is None else overlap_frac,
        size_px=(width, round(0.75 * width)),
        px_per_um=9.0 * width / 640,
        seed=seed,
        on_progress=lambda done, total: progress("Painting fields", done, total),
    )
