"""The mean answer of several networks and how far they disagree, from their score tables.

Axes: M members, N images, K classes, D embedding width. The same arithmetic inside a network is
`models.ensemble`. What this file does not do: it decides nothing from the disagreement.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leukoscope.errors import DataError
from leukoscope.scores import ScoreTable


def average_members(
    logits_MNK: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the logarithm of the mean probability, float64 `(N, K)`, and the mutual information
    between answer and member in nats, float64 `(N,)`, 0 to log M.

    The softmax of the first is the mean of the members' softmax probabilities (Lakshminarayanan et
    al. 2017). The second is the entropy of the mean less the mean entropy (Houlsby et al. 2011),
    computed as the mean divergence from the mean: what members contradict each other about, as
    against what each of them is unsure of.

    Raises `DataError` without members.

    >>> sure_and_contrary = np.array([[[9.0, -9.0]], [[-9.0, 9.0]]], np.float32)
    >>> mean, disagreement = average_members(sure_and_contrary)
    >>> np.exp(mean).round(3).tolist(), disagreement.round(3).tolist()
    ([[0.5, 0.5]], [0.693])
    """
    if logits_MNK.ndim != 3 or not len(logits_MNK):
        raise DataError(
            "an average needs the logits of at least one member, (M, N, K)",
            f"shape {logits_MNK.shape}",
            "stack the logits of the members' score tables",
        )
    z_MNK = logits_MNK.astype(np.float64)
    z_MNK -= z_MNK.max(axis=2, keepdims=True)
    answers_MNK = z_MNK - np.log(np.exp(z_MNK).sum(axis=2, keepdims=True))
    top_NK = answers_MNK.max(axis=0)
    mean_NK = np.log(np.exp(answers_MNK - top_NK).mean(axis=0)) + top_NK
    divergence_MN = (np.exp(answers_MNK) * (answers_MNK - mean_NK)).sum(axis=2)
    return mean_NK, np.maximum(divergence_MN.mean(axis=0), 0.0)


def combine_tables(tables: Sequence[ScoreTable]) -> ScoreTable:
    """Return the score table of an ensemble from those of its members, without a network.

    The rows are those of the first table, with its roles, sources and quality; the others must have
    the same images, in any order. Embeddings stand side by side.

    Raises `DataError` where images or classes differ.
    """
    ids = set(tables[0].ids) if tables else set()
    if not tables or any(set(t.ids) != ids or t.classes != tables[0].classes for t in tables):
        raise DataError(
            "tables are combined where all have the same images and classes",
            f"{len(tables)} tables of {[len(t) for t in tables]} images",
            "score the images again with the ensemble itself",
        )
    ordered = [tables[0]]
    for table in tables[1:]:
        place = {name: i for i, name in enumerate(table.ids)}
        ordered.append(table.take(np.array([place[name] for name in tables[0].ids], np.intp)))
    mean_NK, disagreement_N = average_members(np.stack([t.logits_NK for t in ordered]))
    return replace(
        tables[0],
        logits_NK=mean_NK.astype(np.float32),
        embeddings_ND=np.concatenate([t.embeddings_ND for t in ordered], axis=1),
        disagreement_N=disagreement_N.astype(np.float32),
    )
