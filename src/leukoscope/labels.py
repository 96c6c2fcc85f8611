"""Names of blood cells: canonical names, the aliases data sets use, display names, critical cells.

A canonical name is lower case with underscores. A label that is not listed is allowed: it
becomes its own class under its tidied spelling. This file reads no files.
"""

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CellType:
    """One kind of cell. `critical` marks kinds whose oversight can harm a patient."""

    name: str
    display: str
    aliases: tuple[str, ...] = ()
    critical: bool = False


CELL_TYPES: tuple[CellType, ...] = (
    CellType("neutrophil", "Neutrophil", ("neutrophils", "neu", "ne", "neut", "polymorph")),
    CellType("segmented_neutrophil", "Segmented neutrophil", ("sne", "ngs", "seg")),
    CellType("band_neutrophil", "Band neutrophil", ("bne", "ngb", "band", "stab")),
    CellType("eosinophil", "Eosinophil", ("eosinophils", "eos", "eo")),
    CellType("basophil", "Basophil", ("basophils", "bas", "ba", "baso")),
    CellType("lymphocyte", "Lymphocyte", ("lymphocytes", "lym", "ly", "lymph", "lyt")),
    CellType("atypical_lymphocyte", "Atypical lymphocyte", ("lya", "reactive_lymphocyte")),
    CellType("monocyte", "Monocyte", ("monocytes", "mon", "mo", "mono")),
    CellType(
        "immature_granulocyte",
        "Immature granulocyte",
        ("ig", "immature_granulocytes", "immaturegranulocyte"),
        critical=True,
    ),
    CellType("promyelocyte", "Promyelocyte", ("pmy", "pmo", "promyelocytes"), critical=True),
    CellType("myelocyte", "Myelocyte", ("my", "myb", "myo", "myelocytes"), critical=True),
    CellType("metamyelocyte", "Metamyelocyte", ("mmy", "mmz", "metamyelocytes"), critical=True),
    CellType("blast", "Blast", ("blasts", "bla", "myeloblast", "lymphoblast"), critical=True),
    CellType(
        "erythroblast",
        "Erythroblast",
        ("erythroblasts", "erb", "ebo", "nrbc", "normoblast"),
        critical=True,
    ),
    CellType("platelet", "Platelet", ("platelets", "plt", "thrombocyte", "thrombocytes")),
    CellType("red_cell", "Red cell", ("rbc", "red_blood_cell", "erythrocyte", "erythrocytes")),
    CellType("white_cell", "White cell", ("wbc", "white_blood_cell", "leukocyte", "leucocyte")),
    CellType("smudge_cell", "Smudge cell", ("smudge", "ksc", "smudge_cells")),
)

_BY_NAME = {cell.name: cell for cell in CELL_TYPES}
_BY_ALIAS = {alias: cell.name for cell in CELL_TYPES for alias in (cell.name, *cell.aliases)}


def resolve_label(text: str) -> str:
    """Return the canonical name of a label as a data set spells it; "" for a blank one.

    >>> resolve_label("EOSINOPHIL"), resolve_label("ig"), resolve_label("Hairy cell")
    ('eosinophil', 'immature_granulocyte', 'hairy_cell')
    """
    tidy = unicodedata.normalize("NFC", text).strip().casefold()
    # Folding can leave a letter and its accent apart.
    tidy = unicodedata.normalize("NFC", tidy)
    tidy = re.sub(r"[\s\-_./\\]+", "_", tidy).strip("_")
    return _BY_ALIAS.get(tidy, tidy)


def is_known(text: str) -> bool:
    """Tell whether a label, as a data set spells it, is a listed cell type.

    >>> is_known("EOS"), is_known("Hairy cell")
    (True, False)
    """
    return resolve_label(text) in _BY_NAME


def display_label(name: str) -> str:
    """Return the name to show a reader.

    >>> display_label("immature_granulocyte"), display_label("hairy_cell")
    ('Immature granulocyte', 'Hairy cell')
    """
    if name in _BY_NAME:
        return _BY_NAME[name].display
    spaced = name.replace("_", " ")
    return spaced[:1].upper() + spaced[1:]


def shorten_label(name: str, length: int = 40) -> str:
    """Return the name to show in a chart, where a long one would take all the room.

    >>> shorten_label("band_neutrophil"), shorten_label("long" * 50, 9)
    ('Band neutrophil', 'Longlong…')
    """
    shown = display_label(name)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def is_critical(name: str) -> bool:
    """Tell whether overlooking this kind of cell can harm a patient; unknown names are not.

    >>> is_critical("blast"), is_critical("neutrophil")
    (True, False)
    """
    return name in _BY_NAME and _BY_NAME[name].critical
