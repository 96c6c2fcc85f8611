"""What fitting to half of the local cells changes on the other half."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.builders.trust import CHOICE

from leukoscope.config import TrustConfig
from leukoscope.evaluation.recalibration import measure_recalibration, split_halves
from leukoscope.trust.decision import decide_table
from leukoscope.trust.record import Trust, TrustInfo

CONFIG = TrustConfig(target_accuracy=0.9, reject_frac=0.04)


@pytest.fixture(scope="module")
def trust(fitted):
    info = TrustInfo(
        config=CONFIG, policy=fitted.policy, n_train=400, n_calib=400, n_calib_sources=400,
        choice=CHOICE, notes=(), weights_sha256="0" * 64, arrays_sha256="0" * 64,
    )  # fmt: skip
    nothing = np.zeros((0, 1), np.float32)
    return Trust(info, fitted.novelty, nothing, nothing)


@pytest.fixture(scope="module")
def local(make_trust_table):
    """89 sources of up to four cells each, in which the network is far too sure; ten cells are of a
    class that it does not know, three of them of a source of known cells."""
    table = make_trust_table(360, seed=5)
    order = [i for k in range(3) for i in np.flatnonzero(table.labels_N == k)]
    table = table.take(np.array(order))
    named: Counter[int] = Counter()
    sources = []
    for k in table.labels_N:
        sources.append(f"s{k}_{named[k] // 4}")
        named[k] += 1
    labels_N = table.labels_N.copy()
    labels_N[-10:] = -1
    sources[-10:] = [*(f"strange{i}" for i in range(7)), *["s0_0"] * 3]
    return replace(table, sources=tuple(sources), labels_N=labels_N, logits_NK=8 * table.logits_NK)


def test_halves_share_no_source_and_hold_each_class_alike(local):
    fit, test = split_halves(local, 0)
    known = np.flatnonzero(local.labels_N >= 0)
    assert sorted([*fit, *test]) == known.tolist()
    sources = [{local.sources[i] for i in half} for half in (fit, test)]
    assert not sources[0] & sources[1]
    label_of = {local.sources[i]: int(local.labels_N[i]) for i in known}
    counts = [Counter(label_of[name] for name in half) for half in sources]
    assert all(abs(counts[0][k] - counts[1][k]) <= 1 for k in range(3))
    # Odd classes give the larger half to either side in turn.
    assert abs(len(sources[0]) - len(sources[1])) <= 1
    assert split_halves(local, 0)[0].tolist() == fit.tolist()
    assert split_halves(local, 1)[0].tolist() != fit.tolist()


def test_figures_are_of_the_half_that_nothing_was_fitted_to(local, trust):
    found, fitted = measure_recalibration(local, trust, 0)
    fit, test = split_halves(local, 0)
    assert (found.n_fit, found.n_test) == (len(fit), len(test))
    held = local.take(test)
    for figures, policy in ((found.before, trust.info.policy), (found.after, fitted.policy)):
        decisions = decide_table(policy, trust.novelty, held)
        hit_N = decisions.labels_N == held.labels_N
        accepted_N = decisions.mask("accepted")
        assert figures["accuracy"].value == pytest.approx(hit_N.mean())
        assert figures["accepted"].value == pytest.approx(accepted_N.mean())
        assert figures["accuracy_accepted"].value == pytest.approx(hit_N[accepted_N].mean())
        assert figures["rejected"].value == pytest.approx(decisions.mask("unknown").mean())
        in_set_N = policy.sets.predict(decisions.probabilities_NK)[
            np.arange(len(held)), held.labels_N
        ]
        assert figures["coverage"].value == pytest.approx(in_set_N.mean())
    # The network was eight times too sure, and a temperature renames nothing.
    ratio = fitted.policy.calibration.temperature / trust.info.policy.calibration.temperature
    assert ratio > 4
    assert found.before["accuracy"] == found.after["accuracy"]
    assert found.after["ece"].value < found.before["ece"].value
    paired = found.before["log_loss"].value - found.after["log_loss"].value
    assert found.gain_log_loss.value == pytest.approx(paired, rel=1e-5) and paired > 0.1


def test_cells_of_unknown_kinds_tell_what_the_new_limits_let_in(local, trust):
    found, fitted = measure_recalibration(local, trust, 0)
    unknown = local.take(local.labels_N < 0)
    assert len(unknown) == 10
    for figures, policy in ((found.before, trust.info.policy), (found.after, fitted.policy)):
        strange_N = decide_table(policy, trust.novelty, unknown).mask("accepted")
        assert figures["unknown_accepted"].value == pytest.approx(strange_N.mean())
    without, _ = measure_recalibration(local.take(local.labels_N >= 0), trust, 0)
    assert "unknown_accepted" not in without.after


def test_too_few_sources_fit_nothing_and_say_so(local, trust):
    few = local.take(np.arange(100))  # 25 sources, half of which are no 20
    found, fitted = measure_recalibration(few, trust, 0)
    assert fitted is None and not found.is_fitted
    assert not found.before and not found.after and found.n_fit + found.n_test == 100
