"""Names of blood cells: canonical and display names, aliases of data sets, codes, critical cells.

A canonical name is lower case with underscores. A label that is not listed is allowed: it
becomes its own class under its tidied spelling. An alias stands here only where the public data
sets that use it agree; a code that they read in two ways is a class of its own (`AMBIGUOUS`). This
file reads no files.

Published lists that the aliases follow:

- PBC, Barcelona: Acevedo et al., Data in Brief 30 (2020) 105474: BA, EO, ERB, IG (MMY, MY, PMY),
  LY, MO, BNE, SNE, PLATELET.
- AML-Cytomorphology_LMU, Munich: Matek et al., Nat. Mach. Intell. 1 (2019) 538, with its
  `abbreviations.txt`: BAS, EBO, EOS, KSC, LYA, LYT, MMZ, MOB, MON, MYB, MYO, NGB, NGS, PMB, PMO.
- Bone-Marrow-Cytomorphology: Matek et al., Blood 138 (2021) 1917: ABE, ART, BAS, BLA, EBO, EOS,
  FGC, HAC, KSC, LYI, LYT, MMZ, MON, MYB, NGB, NGS, NIF, OTH, PEB, PLM, PMO.
- Raabin-WBC: Kouzehkanan et al., Sci. Rep. 12 (2022) 1123; LISC: Rezatofighi and Soltanian-Zadeh,
  Comput. Med. Imaging Graph. 35 (2011) 333: names in full.
- C-NMC: Gupta and Gupta, ISBI 2019: all (leukaemic B lymphoblasts), hem (normal precursors).
- MLL23: Shetab Boushehri et al., Sci. Data 12 (2025) 1773, and the names that DinoBloom (Koch et
  al., MICCAI 2024) has for several sets: lymphocyte_typical, promyelocyte_atypical ...
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
    CellType(
        "segmented_neutrophil",
        "Segmented neutrophil",
        ("sne", "ngs", "seg", "segmented_neutrophils", "neutrophil_segmented"),
    ),
    CellType(
        "band_neutrophil",
        "Band neutrophil",
        ("bne", "ngb", "band", "stab", "band_neutrophils", "neutrophil_band"),
    ),
    CellType("eosinophil", "Eosinophil", ("eosinophils", "eos", "eo")),
    CellType("abnormal_eosinophil", "Abnormal eosinophil", ("abe", "eosinophil_abnormal")),
    CellType("basophil", "Basophil", ("basophils", "bas", "ba", "baso")),
    CellType(
        "lymphocyte",
        "Lymphocyte",
        (
            *("lymphocytes", "lym", "ly", "lymph", "lyt"),
            *("typical_lymphocyte", "lymphocyte_typical"),
        ),
    ),
    CellType(
        "atypical_lymphocyte",
        "Atypical lymphocyte",
        ("lya", "reactive_lymphocyte", "lymphocyte_atypical", "lymphocyte_reactive"),
    ),
    CellType(
        "large_granular_lymphocyte", "Large granular lymphocyte", ("lymphocyte_large_granular",)
    ),
    CellType(
        "neoplastic_lymphocyte",
        "Neoplastic lymphocyte",
        ("lymphocyte_neoplastic",),
        critical=True,
    ),
    CellType(
        "immature_lymphocyte",
        "Immature lymphocyte",
        ("lyi", "lymphocyte_immature"),
        critical=True,
    ),
    CellType("hairy_cell", "Hairy cell", ("hac", "hairy_cells")),
    CellType("plasma_cell", "Plasma cell", ("plm", "plasma_cells", "plasmacyte")),
    CellType("monocyte", "Monocyte", ("monocytes", "mon", "mo", "mono")),
    CellType("promonocyte", "Promonocyte", ("promonocytes",), critical=True),
    CellType("monoblast", "Monoblast", ("mob", "monoblasts"), critical=True),
    CellType(
        "immature_granulocyte",
        "Immature granulocyte",
        ("ig", "immature_granulocytes", "immaturegranulocyte"),
        critical=True,
    ),
    CellType("promyelocyte", "Promyelocyte", ("pmy", "pmo", "promyelocytes"), critical=True),
    CellType(
        "atypical_promyelocyte",
        "Atypical promyelocyte",
        ("pmb", "promyelocyte_atypical", "promyelocyte_bilobed", "bilobed_promyelocyte"),
        critical=True,
    ),
    CellType("faggot_cell", "Faggot cell", ("fgc", "faggott_cell", "faggot_cells"), critical=True),
    CellType("myelocyte", "Myelocyte", ("my", "myelocytes"), critical=True),
    CellType("metamyelocyte", "Metamyelocyte", ("mmy", "mmz", "metamyelocytes"), critical=True),
    CellType(
        "blast", "Blast", ("blasts", "bla", "myo", "myeloblast", "myeloblasts"), critical=True
    ),
    CellType("lymphoblast", "Lymphoblast", ("lymphoblasts",), critical=True),
    CellType("all", "ALL (leukaemic lymphoblast)", critical=True),
    CellType("hem", "HEM (normal precursor)"),
    CellType("myb", "MYB", critical=True),
    CellType(
        "erythroblast",
        "Erythroblast",
        ("erythroblasts", "erb", "ebo", "nrbc", "normoblast", "normoblasts"),
        critical=True,
    ),
    CellType(
        "proerythroblast",
        "Proerythroblast",
        ("peb", "proerythroblasts", "pronormoblast"),
        critical=True,
    ),
    CellType("platelet", "Platelet", ("platelets", "plt", "thrombocyte", "thrombocytes")),
    CellType("red_cell", "Red cell", ("rbc", "red_blood_cell", "erythrocyte", "erythrocytes")),
    CellType("white_cell", "White cell", ("wbc", "white_blood_cell", "leukocyte", "leucocyte")),
    CellType("smudge_cell", "Smudge cell", ("smudge", "ksc", "smudge_cells")),
    CellType("artefact", "Artefact", ("art", "artifact", "artefacts", "artifacts")),
    CellType("not_identifiable", "Not identifiable", ("nif",)),
    CellType("other_cell", "Other cell", ("oth",)),
)

AMBIGUOUS: dict[str, tuple[str, ...]] = {"myb": ("myelocyte", "blast")}
"""Codes that mean one cell in some data sets and another elsewhere. MYB is a myelocyte in both
Munich sets and is given as a myeloblast by several public programs for these very sets."""

LOINC: dict[str, str] = {
    "neutrophil": "26511-6",
    "segmented_neutrophil": "26505-8",
    "band_neutrophil": "26508-2",
    "metamyelocyte": "28541-1",
    "myelocyte": "26498-6",
    "promyelocyte": "26524-9",
    "blast": "26446-5",
    "lymphocyte": "26478-8",
    "atypical_lymphocyte": "13046-8",
    "monocyte": "26485-3",
    "eosinophil": "26450-7",
    "basophil": "30180-4",
    "immature_granulocyte": "38518-7",
    "erythroblast": "26461-4",
    "smudge_cell": "34992-8",
}
"""Codes of a cell's share of the white cells in blood; of nucleated red and smudge cells per 100 of
them. Never sent are 34165-1, which says that cells are there, and 24318-8, a discouraged panel."""

_BY_NAME = {cell.name: cell for cell in CELL_TYPES}
_BY_ALIAS = {alias: cell.name for cell in CELL_TYPES for alias in (cell.name, *cell.aliases)}


def resolve_label(text: str) -> str:
    """Return the canonical name of a label as a data set spells it; "" for a blank one.

    A hyphen between letters is a separator, before or behind a word it is a sign, which stays.

    >>> resolve_label("EOSINOPHIL"), resolve_label("ig"), resolve_label("Hairy-Cell")
    ('eosinophil', 'immature_granulocyte', 'hairy_cell')
    >>> resolve_label("-1"), resolve_label("1"), resolve_label("CD4- T")
    ('-1', '1', 'cd4-_t')
    """
    tidy = unicodedata.normalize("NFC", text).strip().casefold()
    # Folding can leave a letter and its accent apart.
    tidy = unicodedata.normalize("NFC", tidy)
    tidy = re.sub("[\N{MINUS SIGN}\N{HYPHEN}\N{NON-BREAKING HYPHEN}\N{EN DASH}]", "-", tidy)
    words = [word for word in re.split(r"[\s_./\\]+", tidy) if word.strip("-")]
    tidy = "_".join(re.sub(r"(?<=[^-])-+(?=[^-])", "_", word) for word in words)
    return _BY_ALIAS.get(tidy, tidy)


def is_known(text: str) -> bool:
    """Tell whether a label, as a data set spells it, is a listed cell type.

    >>> is_known("EOS"), is_known("Foam cell")
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
