"""Reference intervals: those of the package have their sources, and a laboratory's replace them."""

import pytest

from leukoscope.errors import ConfigError
from leukoscope.interval import Interval
from leukoscope.smear.differential import ReferenceLimits, compare_to_limits
from leukoscope.smear.reference import load_reference

OWN = """
name = "our own"
population = "adults of our region"
note = "2025"

["Neu"]
percent = [40, 70]
percent_source = "own study, 2025"
absolute = [1.5, 7]
absolute_source = "own study, 2025"

[band]
percent = [0, 8.5]
percent_source = "own study, 2025"
"""


def write(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_number_of_the_package_has_a_source():
    adults = load_reference()
    assert adults.name == "adults" and "Duffy" in adults.note and "adults" in adults.population
    for limits in (*adults.shares.values(), *adults.absolutes.values()):
        assert limits.source and 0 <= limits.lower < limits.upper
    # As published: ARUP 0040005, and the last column of table 6 of PMC7082321.
    shares = {label: (one.lower, one.upper) for label, one in adults.shares.items()}
    assert shares["segmented_neutrophil"] == pytest.approx((0.45, 0.79))
    assert shares["lymphocyte"] == pytest.approx((0.16, 0.47))
    assert shares["band_neutrophil"] == pytest.approx((0, 0.05))
    absolutes = {label: (one.lower, one.upper) for label, one in adults.absolutes.items()}
    assert absolutes == {
        "white_cell": (3.6, 9.2),
        "neutrophil": (1.7, 6.2),
        "lymphocyte": (1.0, 3.4),
        "monocyte": (0.2, 0.8),
        "eosinophil": (0.0, 0.4),
        "basophil": (0.0, 0.1),
    }


def test_absolute_limits_go_before_shares_where_the_count_is_known():
    adults = load_reference()
    assert adults.find("lymphocyte", has_absolute=True).unit == "10^9/L"
    assert adults.find("lymphocyte", has_absolute=False).unit == "share"
    assert adults.find("band_neutrophil", has_absolute=True).unit == "share"
    assert adults.find("blast", has_absolute=True) is None
    limits = adults.find("lymphocyte", has_absolute=True)
    assert compare_to_limits(Interval(4.0, 3.6, 4.4), limits) == "above"


def test_a_laboratory_gives_its_own(tmp_path):
    own = load_reference(write(tmp_path, OWN))
    assert (own.name, own.population, own.note) == ("our own", "adults of our region", "2025")
    assert own.shares["neutrophil"] == ReferenceLimits(0.4, 0.7, "share", "own study, 2025")
    assert own.absolutes == {"neutrophil": ReferenceLimits(1.5, 7, "10^9/L", "own study, 2025")}
    assert set(own.shares) == {"neutrophil", "band_neutrophil"}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[40, 70]", "[70, 40]", "percent: the lower limit"),
        ("[40, 70]", "[40, 170]", "percent must be at most 100"),
        ("[1.5, 7]", "[-1, 7]", "absolute.0"),
        ("[1.5, 7]", "[nan, 7]", "absolute.0"),
        ("[1.5, 7]", '"high"', "absolute"),
        ('absolute_source = "own study, 2025"', "", "absolute_source must say"),
        ("[band]", "[bnad]", "[bnad] is no cell type"),
        ("[band]", "[neutrophil]", "under another name"),
        ('name = "our own"', "", "name: Field required"),
        ("note = ", "remark = ", "remark"),
        ("[band]\npercent = [0, 8.5]\npercent_source", "[band]\npercent_source", "must be given"),
        ("[band]\npercent = ", "[band]\npercents = ", "percents"),
    ],
)
def test_what_is_wrong_is_named(old, new, named, tmp_path):
    assert old in OWN
    with pytest.raises(ConfigError) as caught:
        load_reference(write(tmp_path, OWN.replace(old, new)))
    assert named in caught.value.found


def test_all_problems_are_named_at_once(tmp_path):
    text = OWN.replace("[40, 70]", "[70, 40]").replace("[0, 8.5]", "[0, 850]")
    with pytest.raises(ConfigError) as caught:
        load_reference(write(tmp_path, text))
    assert "lower limit" in caught.value.found and "at most 100" in caught.value.found


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        load_reference(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="TOML"):
        load_reference(write(tmp_path, "name = "))
