"""Every reader takes whatever comes (the long campaign, in processes of their own and with bounds
for time and memory, is `benchmarks/fuzz_inputs.py`)."""

import pytest
from benchmarks.fuzz_inputs import KINDS, open_samples, try_input
from tests.builders.bundles import save_calibrated_bundle


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    save_calibrated_bundle(folder)
    return open_samples(folder)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", KINDS)
def test_only_errors_of_the_package_come_and_nothing_is_lost(samples, kind):
    came = {try_input(kind, seed, samples) for seed in range(25)}
    assert len(came) > 1  # some were read, some were rejected


def test_the_campaign_itself_finds_what_it_looks_for(samples, monkeypatch):
    """A reader that loses a row, and one that raises what it should not."""
    from benchmarks import fuzz_inputs

    whole = fuzz_inputs.list_images

    def lose_one(*args, **options):
        found = whole(*args, **options)
        return type(found)(found.paths[1:])

    monkeypatch.setattr(fuzz_inputs, "list_images", lose_one)
    with pytest.raises(AssertionError, match="lost"):
        try_input("list", 0, samples)

    def raise_other(*_):
        raise KeyError

    monkeypatch.setattr(fuzz_inputs, "load_recipe", raise_other)
    monkeypatch.setitem(fuzz_inputs.KINDS, "recipe", lambda *_: fuzz_inputs.load_recipe())
    with pytest.raises(KeyError):
        try_input("recipe", 0, samples)
