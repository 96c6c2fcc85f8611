import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.labels import (
    AMBIGUOUS,
    CELL_TYPES,
    display_label,
    is_critical,
    is_known,
    resolve_label,
)

EVERY_SPELLING = [(alias, cell.name) for cell in CELL_TYPES for alias in (cell.name, *cell.aliases)]


@pytest.mark.parametrize(("alias", "name"), EVERY_SPELLING)
def test_every_alias_leads_to_its_cell_in_any_case(alias, name):
    for spelling in (alias, alias.upper(), alias.title(), alias.replace("_", " "), f"  {alias}\n"):
        assert resolve_label(spelling) == name


def test_no_alias_belongs_to_two_cells():
    aliases = [alias for alias, _ in EVERY_SPELLING]
    assert sorted(aliases) == sorted(set(aliases))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hairy-Cell", "hairy_cell"),
        ("hairy   cell", "hairy_cell"),
        ("a/b\\c.d", "a_b_c_d"),
        ("__x__", "x"),
        ("3", "3"),
        ("Caf\u00e9", "caf\u00e9"),
        ("Cafe\u0301", "caf\u00e9"),
        ("\u017f\u0301", "\u015b"),
        ("STRASSE", "strasse"),
        ("stra\u00dfe", "strasse"),
        ("\u7ea2\u7ec6\u80de", "\u7ea2\u7ec6\u80de"),
        ("", ""),
        (" \t\u00a0", ""),
        ("_-./", ""),
    ],
)
def test_unlisted_labels_are_tidied(text, expected):
    assert resolve_label(text) == expected


PUBLISHED = {
    "PBC (Acevedo 2020)": {
        "BA": "basophil",
        "EO": "eosinophil",
        "ERB": "erythroblast",
        "IG": "immature_granulocyte",
        "MMY": "metamyelocyte",
        "MY": "myelocyte",
        "PMY": "promyelocyte",
        "LY": "lymphocyte",
        "MO": "monocyte",
        "BNE": "band_neutrophil",
        "SNE": "segmented_neutrophil",
        "PLATELET": "platelet",
    },
    "AML-Cytomorphology_LMU": {
        "BAS": "basophil",
        "EBO": "erythroblast",
        "EOS": "eosinophil",
        "KSC": "smudge_cell",
        "LYA": "atypical_lymphocyte",
        "LYT": "lymphocyte",
        "MMZ": "metamyelocyte",
        "MOB": "monoblast",
        "MON": "monocyte",
        "MYB": "myb",
        "MYO": "blast",
        "NGB": "band_neutrophil",
        "NGS": "segmented_neutrophil",
        "PMB": "atypical_promyelocyte",
        "PMO": "promyelocyte",
    },
    "Bone-Marrow-Cytomorphology": {
        "ABE": "abnormal_eosinophil",
        "ART": "artefact",
        "BAS": "basophil",
        "BLA": "blast",
        "EBO": "erythroblast",
        "EOS": "eosinophil",
        "FGC": "faggot_cell",
        "HAC": "hairy_cell",
        "KSC": "smudge_cell",
        "LYI": "immature_lymphocyte",
        "LYT": "lymphocyte",
        "MMZ": "metamyelocyte",
        "MON": "monocyte",
        "MYB": "myb",
        "NGB": "band_neutrophil",
        "NGS": "segmented_neutrophil",
        "NIF": "not_identifiable",
        "OTH": "other_cell",
        "PEB": "proerythroblast",
        "PLM": "plasma_cell",
        "PMO": "promyelocyte",
    },
    "Raabin-WBC, LISC": {
        "Basophil": "basophil",
        "Eosinophil": "eosinophil",
        "Lymphocyte": "lymphocyte",
        "Monocyte": "monocyte",
        "Neutrophil": "neutrophil",
    },
    "C-NMC": {"all": "all", "hem": "hem"},
    "MLL23, DinoBloom": {
        "hairy_cell": "hairy_cell",
        "lymphocyte_large_granular": "large_granular_lymphocyte",
        "lymphocyte_neoplastic": "neoplastic_lymphocyte",
        "lymphocyte_reactive": "atypical_lymphocyte",
        "lymphocyte_typical": "lymphocyte",
        "myeloblast": "blast",
        "neutrophil_band": "band_neutrophil",
        "neutrophil_segmented": "segmented_neutrophil",
        "normoblast": "erythroblast",
        "plasma cell": "plasma_cell",
        "promyelocyte_atypical": "atypical_promyelocyte",
        "smudge_cell": "smudge_cell",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_abbreviations_are_known_and_kept_apart(name):
    found = {code: resolve_label(code) for code in PUBLISHED[name]}
    assert found == PUBLISHED[name]
    assert len(set(found.values())) == len(found)
    assert all(is_known(code) for code in found)
    assert not is_known("odd")


@pytest.mark.parametrize(
    ("one", "other"),
    [("-1", "1"), ("A-", "A"), ("CD4-", "CD4"), ("CD4- T", "CD4 T"), ("CD4+", "CD4-"),
     ("+1", "1"), ("\u22121", "1"), ("Rh-", "Rh+"), ("EOS-", "EOS")],
)  # fmt: skip
def test_signs_keep_labels_apart(one, other):
    assert resolve_label(one) != resolve_label(other)


def test_a_code_that_data_sets_read_in_two_ways_is_a_class_of_its_own():
    for code, meanings in AMBIGUOUS.items():
        assert resolve_label(code) == code
        assert is_critical(code) == any(map(is_critical, meanings))


@given(st.sampled_from(EVERY_SPELLING), st.sampled_from(["", " ", "__", " - ", " ."]))
def test_padding_does_not_matter(spelling, padding):
    alias, name = spelling
    assert resolve_label(padding + alias + padding) == name


@given(st.text(max_size=12))
def test_resolving_twice_changes_nothing(text):
    once = resolve_label(text)
    assert resolve_label(once) == once


def test_display_names():
    for cell in CELL_TYPES:
        assert display_label(cell.name) == cell.display
    assert display_label("hairy_cell") == "Hairy cell"
    assert display_label("") == ""


def test_critical_cells_are_the_immature_ones():
    assert {cell.name for cell in CELL_TYPES if is_critical(cell.name)} == {
        "all",
        "atypical_promyelocyte",
        "blast",
        "erythroblast",
        "faggot_cell",
        "immature_granulocyte",
        "immature_lymphocyte",
        "lymphoblast",
        "metamyelocyte",
        "monoblast",
        "myb",
        "myelocyte",
        "neoplastic_lymphocyte",
        "proerythroblast",
        "promonocyte",
        "promyelocyte",
    }
    assert not is_critical("hairy_cell")
    # Aliases are resolved first; the raw spelling is no canonical name.
    assert not is_critical("bla")
    assert is_critical(resolve_label("bla"))
