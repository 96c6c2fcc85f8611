"""One network, or one function that scores images, and all its kinds of maps.

Axes: N images, S side, K classes. What this file does not do: it opens no model
(`pipelines.explain_model`) and evaluates no map (`study`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leukoscope.explain.methods import Method
from leukoscope.explain.occlusion import Score, compute_background, compute_occlusion

if TYPE_CHECKING:
    from leukoscope.explain.attribution import CamKind
    from leukoscope.explain.maps import AttentionLayer
    from leukoscope.models.coatnet import CoAtNet

_OCCLUSION_GRID = 6
"""Windows side by side."""


@dataclass(frozen=True)
class Maps:
    """Signed maps `(N, S, S)` of one method; with attention also its layers, with integrated
    gradients what they miss `(N,)`."""

    maps_NSS: NDArray[np.float32]
    layers: "Sequence[AttentionLayer]" = ()
    missed_N: Sequence[float] = ()


@dataclass(frozen=True)
class Explainer:
    """Makes maps of images of `side` pixels. Without `network` occlusion is all there is; `stage`
    is where class activation maps are taken."""

    score: Score
    network: "CoAtNet | None"
    side: int
    stage: str

    def build_maps(
        self, method: Method, images_NSSC: NDArray[np.uint8], targets_N: Sequence[int]
    ) -> Maps:
        """Return the maps of one class per image; images are uint8 `(N, S, S, 3)`."""
        if method == "occlusion" or self.network is None:
            pairs = zip(images_NSSC, targets_N, strict=True)
            return Maps(np.stack([compute_occlusion(self.score, image, k) for image, k in pairs]))
        import torch

        from leukoscope.data.loader import prepare_input
        from leukoscope.explain import attribution
        from leukoscope.explain.maps import compute_attention, compute_rollout, enlarge_maps

        device = next(self.network.parameters()).device
        inputs = prepare_input(torch.from_numpy(images_NSSC).to(device))
        targets = torch.tensor(list(targets_N), device=device)
        if method == "attention":
            layers = compute_attention(self.network, inputs)
            return Maps(enlarge_maps(compute_rollout(layers), self.side), layers)
        if method == "gradients":
            empty_NSSC = np.empty_like(images_NSSC)
            for i, image_SSC in enumerate(images_NSSC):
                empty_NSSC[i] = compute_background(image_SSC)
            baselines = prepare_input(torch.from_numpy(empty_NSSC).to(device))
            maps_NSS, missed_N = attribution.compute_integrated_gradients(
                self.network, inputs, targets, baselines
            )
            return Maps(maps_NSS, missed_N=missed_N.tolist())
        kind: CamKind = "gradcam" if method == "gradcam" else "hirescam"
        return Maps(
            attribution.compute_cam(self.network, inputs, targets, kind=kind, stage=self.stage)
        )

    def find_grid(self, method: Method) -> int:
        """Return how many independent places a method's map has along a side, for a fair random
        baseline."""
        if method == "occlusion" or self.network is None:
            return _OCCLUSION_GRID
        if method == "gradients":
            return self.side
        spec = self.network.spec
        if method == "attention":
            place = next(i for i, one in enumerate(spec.stages, 1) if one.kind == "transformer")
        else:
            place = 0 if self.stage == "stem" else int(self.stage.removeprefix("stage_"))
        return self.side >> (1 + place - (spec.family == "hematology" and place > 0))

    def randomise(self, seed: int) -> "Iterator[tuple[str, Explainer]]":
        """Yield explainers of the network with more and more of its weights drawn anew, each with
        the name of what was drawn last (`attribution.build_randomised`); none without network."""
        if self.network is None:
            return
        from leukoscope.explain.attribution import build_randomised, build_score

        for level, network in build_randomised(self.network, seed=seed):
            yield level, replace(self, score=build_score(network), network=network)
