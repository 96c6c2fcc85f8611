"""The faithfulness of maps, measured image by image, then tested method by method.

Axes: S side of an image, C colour, T steps of a curve. What this file does not do: it makes no maps
(`explainer`); the measures themselves, and the tests, are in `faithfulness`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from leukoscope.explain.explainer import Explainer
from leukoscope.explain.faithfulness import (
    Measured,
    build_centre_prior,
    build_random_maps,
    compute_area,
    compute_curve,
    compute_localisation,
    compute_rank_correlation,
    evaluate_method,
)
from leukoscope.explain.methods import Method
from leukoscope.explain.record import CURVE_KINDS, CurveKind, FaithfulnessResult
from leukoscope.progress import Progress, silent

Pair = Mapping[CurveKind, NDArray[np.float64]]
"""Curves of deletion and insertion, `(T+1,)` each."""

_BATCH_SIZE = 16
_LAST_LEVEL = "stem"
_ONLY_LAST: tuple[Method, ...] = ("occlusion", "gradients")
"""Expensive, and only the last level of randomisation is tested."""


@dataclass(frozen=True)
class ImageScores:
    """What was measured of the maps of one image. `random` are the curves of noise as coarse
    as a method's map; `localisation` and `ceiling` are empty and None without a box."""

    curves: Mapping[Method, Pair]
    random: Mapping[Method, Pair]
    centre: Pair
    localisation: Mapping[Method, float]
    ceiling: float | None
    source: str


@dataclass
class Study:
    """The images that were evaluated so far, with their maps, which the check against random
    weights needs again."""

    explainer: Explainer
    methods: Sequence[Method]
    seed: int
    scores: list[ImageScores] = field(default_factory=list)
    _images: list[NDArray[np.uint8]] = field(default_factory=list)
    _targets: list[int] = field(default_factory=list)
    _maps: list[Mapping[Method, NDArray[np.float32]]] = field(default_factory=list)

    @property
    def grids(self) -> dict[Method, int]:
        """The grid of each method's noise."""
        return {method: self.explainer.find_grid(method) for method in self.methods}

    def add(
        self,
        number: int,
        image_SSC: NDArray[np.uint8],
        target: int,
        maps: Mapping[Method, NDArray[np.float32]],
        inside_SS: NDArray[np.float32] | None,
        source: str,
    ) -> ImageScores:
        """Measure the maps `(S, S)` of one image, and of baselines. `number` draws their noise;
        `inside_SS` says where the cell is, None where nobody knows; `source` which images
        are of the same source."""
        noise = {
            grid: build_random_maps(1, grid, self.explainer.side, self.seed + number)[0]
            for grid in self.grids.values()
        }

        def measure(
            map_SS: NDArray[np.float32], ties_SS: NDArray[np.float32] | None = None
        ) -> Pair:
            score = self.explainer.score
            return {
                kind: compute_curve(score, image_SSC, target, map_SS, kind, ties_SS=ties_SS)
                for kind in CURVE_KINDS
            }

        localisation: dict[Method, float] = {}
        ceiling = None
        if inside_SS is not None:
            for method in self.methods:
                localisation[method], ceiling = compute_localisation(maps[method], inside_SS)
        random = {grid: measure(map_SS) for grid, map_SS in noise.items()}
        found = ImageScores(
            {method: measure(maps[method], noise[grid]) for method, grid in self.grids.items()},
            {method: random[grid] for method, grid in self.grids.items()},
            measure(build_centre_prior(self.explainer.side)),
            localisation,
            ceiling,
            source,
        )
        self.scores.append(found)
        self._images.append(image_SSC)
        self._targets.append(target)
        self._maps.append(maps)
        return found

    def conclude(self, progress: Progress = silent) -> tuple[FaithfulnessResult, ...]:
        """Return a result per method; none where no image was evaluated."""
        if not self.scores:
            return ()
        correlations = self._correlate(progress)
        results = []
        for method in self.methods:
            own = compute_areas([one.curves[method] for one in self.scores])
            boxed = [one for one in self.scores if one.ceiling is not None]
            measured = Measured(
                own["deletion"],
                own["insertion"],
                {
                    "random": compute_areas([one.random[method] for one in self.scores]),
                    "centre": compute_areas([one.centre for one in self.scores]),
                },
                correlations[method],
                [one.localisation[method] for one in boxed],
                [one.ceiling for one in boxed if one.ceiling is not None],
                [one.source for one in self.scores],
                [one.source for one in boxed],
            )
            results.append(evaluate_method(method, measured))
        return tuple(results)

    def _correlate(self, progress: Progress) -> dict[Method, dict[str, list[float]]]:
        """Rank correlations with the maps of networks that lose more and more of their weights."""
        found: dict[Method, dict[str, list[float]]] = {method: {} for method in self.methods}
        if self.explainer.network is None:
            return found
        total = 2 + len(self.explainer.network.stages)
        for done, (level, randomised) in enumerate(self.explainer.randomise(self.seed), 1):
            for method in self.methods:
                if method in _ONLY_LAST and level != _LAST_LEVEL:
                    continue
                rhos: list[float] = []
                for start in range(0, len(self._images), _BATCH_SIZE):
                    part = slice(start, start + _BATCH_SIZE)
                    made = randomised.build_maps(
                        method, np.stack(self._images[part]), self._targets[part]
                    )
                    rhos += [
                        compute_rank_correlation(maps[method], map_SS)
                        for maps, map_SS in zip(self._maps[part], made.maps_NSS, strict=True)
                    ]
                found[method][level] = rhos
            progress("Randomising weights", done, total)
        return found


def compute_areas(pairs: Sequence[Pair]) -> dict[CurveKind, list[float]]:
    """Return the areas under the curves of several images, by kind."""
    return {kind: [compute_area(pair[kind]) for pair in pairs] for kind in CURVE_KINDS}


def compute_pair_areas(pair: Pair) -> dict[CurveKind, float]:
    """Return the areas under the curves of one image, by kind."""
    return {kind: compute_area(curve_T) for kind, curve_T in pair.items()}
