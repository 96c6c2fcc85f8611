"""Every term that a page explains, once: pages pick by key.

What this file does not do: it lays nothing out (`page.build_glossary`).
"""

from leukoscope.interval import EXACT_BELOW
from leukoscope.report.page import Section, build_glossary

MEANINGS: dict[str, tuple[str, str]] = {
    "accuracy": ("Accuracy", "The fraction of all test images that are correctly classified."),
    "interval": (
        "95 % interval",
        "If the test were repeated on other sources of the same kind, the interval would hold the"
        " true figure in about 95 of 100 repeats. Few sources give wide intervals. It does not"
        " cover other laboratories, stains or scanners.",
    ),
    "source": (
        "Source",
        "The group that images come from together (patient, slide, field or original image;"
        " scikit-learn: `groups`). Images of one source are not independent evidence and belong in"
        " one role.",
    ),
    "recall": ("Sensitivity (recall)", "Of all cells of this class, the fraction that was found."),
    "precision": (
        "PPV (precision)",
        "Of all cells predicted as this class, the fraction that really was. It depends on how"
        " common each class is in the test set.",
    ),
    "specificity": (
        "Specificity",
        "Of all other cells, the fraction that was not predicted as this class.",
    ),
    "f1": ("F1", "One number for sensitivity and PPV together (their harmonic mean)."),
    "balanced_accuracy": (
        "Balanced accuracy",
        "The mean of the sensitivities: each class counts alike, rare or not.",
    ),
    "kappa": (
        "Kappa, MCC",
        "Agreement beyond what chance alone would give: 0 is chance, 1 is perfect.",
    ),
    "roc_auc": (
        "ROC area",
        "The chance that a cell of the class is ranked above another cell: 0.5 is a coin, 1 is"
        " perfect.",
    ),
    "ece": (
        "Calibration error",
        "How far stated confidence and real success lie apart, without what chance alone adds: at"
        " 0, cells classified with 90 % confidence are right 90 times in 100.",
    ),
    "decision": (
        "Accepted, review, unknown",
        "What becomes of a cell: its label is accepted; or a person looks, because two labels fit,"
        " confidence is low or the image is poor; or it is unlike anything in training.",
    ),
    "prediction_set": (
        "Prediction set, coverage",
        "Instead of one label, all labels that fit. Coverage is the fraction of cells whose set"
        " holds the right one; it is guaranteed for cells of the same kind as those of calibration"
        " only.",
    ),
    "baseline": (
        "Baseline",
        "What a method reaches that knows nothing of cells. A network has to be clearly better"
        " to have shown anything. Both are compared on the same images, image by image (exact"
        " McNemar test; over sources where these have several images): that decides far more than"
        " whether two intervals overlap.",
    ),
    "leak": (
        "Leak",
        "The same cell, or a duplicate of it, in training and in test. The network then repeats"
        " what it was shown.",
    ),
    "leakage_status": (
        "Leakage status",
        "Disjoint: sources that the data name (patients, slides) lie in one role only. Images"
        " disjoint: pictures do, as far as pixels tell; persons are not known. Unproven: nobody"
        " knows. Suspect: there are signs of copies. Leaking: copies of test images, or their"
        " sources, lie in training.",
    ),
    "role": (
        "Role",
        "train fits the network, val chooses among its states, calib fits thresholds, test is"
        " measured once. Training means train and val.",
    ),
    "relation": (
        "Exact duplicates, same source, same field",
        "How two images are related. Exact duplicates: equal to the last byte. Same source: near or"
        " geometric duplicates of one picture (re-encoded, recoloured, turned, cropped), or images"
        " that the table puts together. Same field: they show parts of one microscope field,"
        " perhaps of neighbouring cells, or are linked only through third images.",
    ),
    "effective_sources": (
        "Effective sources",
        "The number of equally large sources with the same information. It is far below the number"
        " of sources where a few of them have most of the images.",
    ),
    "reference": (
        "Reference",
        "The member of a group with the most links. The maps of the other members lead from the"
        " reference to them. Turns are clockwise as seen on the screen.",
    ),
    "moved": (
        "Moved onto the reference",
        "The member after the map has been undone. It should show the reference's picture in the"
        " reference's place; grey is where the member shows nothing.",
    ),
    "inliers": (
        "Inliers",
        "Matched local features that obey one map. Chance gives few; duplicates give dozens.",
    ),
    "overlap": (
        "Overlap, agreement",
        "The area that two pictures share, of the smaller one's content; the part of it where the"
        " two look alike once one is moved onto the other.",
    ),
    "contradiction": (
        "Contradiction",
        "The area where one picture shows something and the other's fill says that its picture"
        " had ended there. Duplicates of one picture have none.",
    ),
    "rejected_link": (
        "Rejected link",
        "Two pictures that look like duplicates while the rest of their groups does not support"
        " it. Such a link joins nothing.",
    ),
    "criterion": (
        "Acceptance criterion",
        "What the laboratory asks for. It is met only if the whole 95 % interval meets it: a good"
        " figure from few cells is undecided. A share from few sources"
        f" (below {EXACT_BELOW}) is decided by its exact interval, which is wider; and each of"
        " several planned looks by a wider one, so that together they err no more often.",
    ),
    "weighted_kappa": (
        "Weighted kappa",
        "As kappa, where a confusion of distant stages counts more than one of neighbours.",
    ),
    "internal": (
        "Internal test set",
        "The test images of the data that the network was developed on. They are other cells,"
        " so only shares can be compared, not cell by cell.",
    ),
    "case_mix": ("Case mix", "The share of each class among the cells."),
    "shift_auc": (
        "Area under the ROC curve of the images",
        "How well a simple classifier separates these images from the reference sample: 0.5"
        " is not at all, 1 is completely.",
    ),
    "design_effect": (
        "Design effect",
        "How many cells of a shared source count as one independent cell.",
    ),
    "gradcam": (
        "Grad-CAM, HiResCAM",
        "Which places of a feature map raise the score of the class. Grad-CAM weights whole"
        " channels, HiResCAM each place by itself.",
    ),
    "integrated_gradients": (
        "Integrated gradients",
        "What each pixel adds on the way from an empty field to the image.",
    ),
    "occlusion": (
        "Occlusion",
        "How far the score of the class falls when a patch is painted over.",
    ),
    "attention": (
        "Attention rollout",
        "Which places the transformers mixed together, whatever the class.",
    ),
    "deletion": (
        "Deletion",
        "Pixels are painted over in the colour of the empty field, those first that the map"
        " marks most. The figure is the area under the probability of the class: the lower,"
        " the more the marked places carried.",
    ),
    "insertion": (
        "Insertion",
        "The other way round: from a blurred image, marked pixels come back first. The"
        " higher, the better.",
    ),
    "controls": (
        "Random places, centre of the image",
        "Maps that know nothing: noise as coarse as the map itself, and a bell at the centre."
        " A map that is no better than these explains nothing. Where a map marks nothing, its"
        " pixels go and come in the order of that noise.",
    ),
    "random_weights": (
        "Random weights",
        "Rank correlation between the map and that of a network whose weights were all"
        " randomised. It must be near 0: what stays is the image, not the network.",
    ),
    "localisation": (
        "In the cell",
        "The share of the map that lies in the box round the cell, divided by the box's share"
        " of the area. 1 is chance.",
    ),
}
"""Term and meaning by key."""


OF_EVALUATIONS = (
    "accuracy", "interval", "source", "recall", "precision", "specificity", "f1",
    "balanced_accuracy", "kappa", "roc_auc", "ece", "decision", "prediction_set", "baseline",
    "leak", "leakage_status",
)  # fmt: skip
"""What reports of evaluations and model cards speak of."""


def pick_terms(*keys: str) -> tuple[tuple[str, str], ...]:
    """Return terms with their meaning, in this order."""
    return tuple(MEANINGS[key] for key in keys)


def build_terms(*keys: str) -> Section:
    """Return the section of a page that explains terms."""
    return build_glossary(pick_terms(*keys))
