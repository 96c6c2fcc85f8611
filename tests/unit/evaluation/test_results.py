"""When figures speak of copies; the rest of `results` is tested with the use cases."""

import numpy as np
import pytest

from leukoscope.evaluation.baselines import Floor
from leukoscope.evaluation.intervals import wilson
from leukoscope.evaluation.results import judge_split


def make_floors(n=1000, **shares):
    return {
        name: Floor(name, np.zeros(0, np.int64), wilson(share * n, n), share, "")
        for name, share in {"majority": 0.25, **shares}.items()
    }


@pytest.mark.parametrize(
    ("network", "floors", "verdict"),
    [
        # The Kaggle set under the published protocol.
        (0.994, make_floors(colour_histogram=0.999, nearest_neighbour=0.655), "suspect"),
        (0.99, make_floors(nearest_neighbour=0.985), "suspect"),
        # An honest gap, also where few images make the intervals overlap.
        (0.95, make_floors(colour_histogram=0.83), "unproven"),
        (0.90, make_floors(n=70, colour_histogram=0.83), "unproven"),
        # A network that learned nothing is no sign of copies.
        (0.25, make_floors(colour_histogram=0.26), "unproven"),
        (0.99, {}, "unproven"),
    ],
)
def test_suspicion_needs_a_floor_that_does_as_well(network, floors, verdict):
    found, sentences = judge_split("unproven", True, wilson(network * 1000, 1000), floors)
    assert found == verdict
    assert bool(sentences) == (verdict == "suspect")


@pytest.mark.parametrize("verdict", ["disjoint", "leaking"])
def test_what_is_known_is_not_suspected(verdict):
    floors = make_floors(colour_histogram=0.999)
    assert judge_split(verdict, True, wilson(99, 100), floors) == (verdict, ())


def test_a_split_that_the_data_made_is_not_suspected():
    floors = make_floors(colour_histogram=0.999)
    assert judge_split("unproven", False, wilson(99, 100), floors) == ("unproven", ())
