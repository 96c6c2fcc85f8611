import pytest
from hypothesis import given
from hypothesis import strategies as st

from leukoscope.labels import CELL_TYPES, display_label, is_critical, resolve_label

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


@given(st.sampled_from(EVERY_SPELLING), st.sampled_from(["", " ", "__", "-", " ."]))
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
        "blast",
        "erythroblast",
        "immature_granulocyte",
        "metamyelocyte",
        "myelocyte",
        "promyelocyte",
    }
    assert not is_critical("hairy_cell")
    # Aliases are resolved first; the raw spelling is no canonical name.
    assert not is_critical("bla")
    assert is_critical(resolve_label("bla"))
