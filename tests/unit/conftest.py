"""Invented scores of a network with three classes: what a run leaves, without a run."""

import pytest
from tests.builders.scores import make_table

from leukoscope.config import TrustConfig
from leukoscope.trust.fitting import fit_policy


@pytest.fixture(scope="session")
def make_trust_table():
    return make_table


@pytest.fixture(scope="session")
def trust_table():
    return make_table()


@pytest.fixture(scope="session")
def fitted(trust_table):
    return fit_policy(trust_table, TrustConfig(target_accuracy=0.98, reject_frac=0.04, alpha=0.05))
