"""Several networks, or one image seen from several sides, as one network with averaged answers.

Axes: B batch, C channels, H = W side, K classes, D embedding width, M members, V views of an image,
X = V * B, S = M * V answers for an image. What this file does not do: it trains nothing and knows
nothing of files; the same arithmetic on score tables is `trust.disagreement`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from leukoscope.errors import ConfigError
from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.spec import VIEW_COUNTS, CoAtNetSpec, EnsembleSpec, ViewCount


class Ensemble(nn.Module):
    """Members that answer together, each on every view of an image.

    `forward(images_BCHW)` returns `(logits_BK, out)` as `CoAtNet` does. The logits are logarithms
    of the mean of the softmax probabilities over members and views, so that their softmax is that
    mean (deep ensembles, Lakshminarayanan et al. 2017). `out` holds "embedding" `(B, D)`, the
    members' embeddings side by side, each averaged over its views; "disagreement" `(B,)`, the
    mutual information between the answer and which member and view gives it, in nats, 0 or more
    (Houlsby et al. 2011; 0 where all say the same, at most log S); "logits"; and, for explanation,
    "stem" and "stage_*" of the first member for the image as it is.

    With 4 or 8 views the answer does not depend on how the image lies: flipping it (8: turning it
    too) changes the order of the views and nothing else. A cell has no upper side.

    Raises `ConfigError` without members, for members of unequal classes or image size, or another
    number of views. Members keep their mode: call `eval()` before asking.
    """

    def __init__(self, members: Sequence[CoAtNet], views: ViewCount = 1) -> None:
        super().__init__()
        shapes = {(m.spec.n_classes, m.spec.image_size) for m in members}
        if len(shapes) != 1 or views not in VIEW_COUNTS:
            raise ConfigError(
                "an ensemble needs members of one number of classes and one image size, and 1, 4"
                " or 8 views",
                f"{len(members)} members, (classes, image size) {sorted(shapes)}, {views} views",
                "train the members on the same classes with the same recipe.input",
            )
        self.members = nn.ModuleList(members)
        specs = tuple(member.spec for member in members)
        self.spec = EnsembleSpec(
            name=_name_ensemble(specs, views),
            n_classes=specs[0].n_classes,
            image_size=specs[0].image_size,
            views=views,
            members=specs,
        )

    @property
    def first(self) -> CoAtNet:
        """The first member, the one that is explained."""
        return cast(CoAtNet, self.members[0])

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return logits `(B, K)` and what else is known; see the class."""
        n, views = images_BCHW.shape[0], self.spec.views
        views_XCHW = torch.cat(list_views(images_BCHW, views)) if views > 1 else images_BCHW
        out: dict[str, Tensor] = {}
        answers, embeddings = [], []
        for position, member in enumerate(self.members):
            logits_XK, inside = member(views_XCHW)
            answers.append(_part(F.log_softmax(logits_XK.float(), dim=1), views))
            embeddings.append(_part(inside["embedding"], views).mean(0))
            if position == 0:
                maps = {k: v for k, v in inside.items() if k == "stem" or k.startswith("stage_")}
                out |= {name: maps_XCHW[:n] for name, maps_XCHW in maps.items()}
        out["embedding"] = torch.cat(embeddings, dim=1)
        out["logits"], out["disagreement"] = mix_answers(torch.cat(answers))
        return out["logits"], out


Network = CoAtNet | Ensemble
"""What a run folder holds."""


def list_views(images_BCHW: Tensor, views: ViewCount) -> list[Tensor]:
    """Return the images as they are and their other views, each `(B, C, H, W)` with H = W: flipped
    across, down and both ways; for 8 also these four with rows and columns exchanged."""
    if views == 1:
        return [images_BCHW]
    upright = [images_BCHW, images_BCHW.flip(3), images_BCHW.flip(2), images_BCHW.flip((2, 3))]
    return upright if views == 4 else upright + [x.transpose(2, 3) for x in upright]


def mix_answers(answers_SBK: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithm of the mean probability `(B, K)` and the mutual information `(B,)` in
    nats of S answers given as log-probabilities.

    Written out from subtraction, exponential and mean: nothing underflows, whatever runtime
    computes it. The mutual information is taken as the mean Kullback-Leibler divergence from the
    mean, which equals the entropy of the mean less the mean entropy and loses no digits where
    the answers are nearly equal.
    """
    top_BK = answers_SBK.amax(0)
    mean_BK = (answers_SBK - top_BK).exp().mean(0).log() + top_BK
    divergence_SB = (answers_SBK.exp() * (answers_SBK - mean_BK)).sum(2)
    return mean_BK, divergence_SB.mean(0).clamp(min=0)


def _part(rows_XW: Tensor, views: int) -> Tensor:
    """Rows by view: `(V, B, W)`."""
    return rows_XW.reshape(views, -1, rows_XW.shape[1])


def _name_ensemble(specs: Sequence[CoAtNetSpec], views: ViewCount) -> str:
    counts = Counter(spec.name for spec in specs)
    text = " + ".join(f"{n} x {name}" for name, n in counts.items())
    return text + (f", {views} views" if views > 1 else "")
