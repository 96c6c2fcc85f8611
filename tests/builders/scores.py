"""Invented scores of a network with three classes: what a run leaves, without a run."""

import numpy as np

from leukoscope.scores import ScoreTable, compute_probabilities
from leukoscope.trust.conformal import ConformalSets
from leukoscope.trust.quality import QUALITY_NAMES

CLASSES = ("eosinophil", "immature_granulocyte", "neutrophil")


def make_table(n=1200, seed=0, sources=None, disagreement=False):
    """Scores of a network that is right in some 97 of 100 cells and a little too sure."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 3, n)
    centre_KD = 4 * np.eye(3, 6)
    embeddings_ND = centre_KD[labels_N] + rng.normal(0, 1, (n, 6))
    logits_NK = 2.5 * embeddings_ND[:, :3] + rng.normal(0, 1.5, (n, 3))
    roles = np.array(["train", "calib", "test"])[np.arange(n) % 3]
    quality_NQ = rng.lognormal(0, 0.1, (n, len(QUALITY_NAMES)))
    return ScoreTable(
        classes=CLASSES,
        ids=tuple(f"{i}.png" for i in range(n)),
        paths=tuple(f"/cells/{i}.png" for i in range(n)),
        sources=tuple(sources or (str(i) for i in range(n))),
        roles=tuple(roles.tolist()),
        labels_N=labels_N,
        logits_NK=logits_NK.astype(np.float32),
        embeddings_ND=embeddings_ND.astype(np.float32),
        source_known=True,
        quality_names=QUALITY_NAMES,
        quality_NQ=quality_NQ.astype(np.float32),
        disagreement_N=rng.exponential(0.02, n).astype(np.float32) if disagreement else None,
    )


def draw_calibrated(n, k=3, seed=0):
    """Probabilities `(n, k)` and labels that are drawn from them."""
    rng = np.random.default_rng(seed)
    p_NK = compute_probabilities(rng.normal(0, 2, (n, k)))
    return p_NK, _draw_labels(rng, p_NK)


def draw_uncalibrated(n, k=4, temperature=1.0, bias=0.0, seed=0):
    """Logits of a network that would be calibrated after `logits / temperature + bias`."""
    rng = np.random.default_rng(seed)
    true_NK = rng.normal(0, 2, (n, k))
    labels_N = _draw_labels(rng, compute_probabilities(true_NK))
    return ((true_NK - bias) * temperature).astype(np.float32), labels_N


def _draw_labels(rng, p_NK):
    n, k = p_NK.shape
    return (rng.random(n)[:, None] > p_NK.cumsum(axis=1)).sum(axis=1).clip(0, k - 1)


def name_sources(n):
    """A source of its own for each image."""
    return [str(i) for i in range(n)]


def build_sets(alphas, counts, **changes):
    """Fitted sets, one threshold per class."""
    k = len(alphas)
    content = {"thresholds": (0.5,) * k, "groups": tuple(range(k)), "borrowed": (False,) * k}
    return ConformalSets(alphas=alphas, counts=counts, **(content | changes))
