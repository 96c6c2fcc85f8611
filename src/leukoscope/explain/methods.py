"""The kinds of maps and their names in words. What this file does not do: it makes none of them."""

from typing import Literal

Method = Literal["gradcam", "hirescam", "gradients", "occlusion", "attention"]

METHODS: dict[Method, str] = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "attention": "Attention rollout",
}
"""Each method with its name in words."""

RUN_METHODS: tuple[Method, ...] = ("gradcam", "hirescam", "occlusion")
"""What a trained network is explained by unless asked otherwise."""

AT_A_STAGE: tuple[Method, ...] = ("gradcam", "hirescam")
"""Methods that read the map of one stage."""

FLOORS = {"random": "Random places", "centre": "Centre of the image"}
"""Maps that know nothing, which every method is held against."""


def name_method(method: str, stage: str) -> str:
    """Return a method in words, with its stage where it has one.

    >>> name_method("gradcam", "stage_2"), name_method("occlusion", "stage_2")
    ('Grad-CAM (stage_2)', 'Occlusion')
    """
    word = next(words for name, words in METHODS.items() if name == method)
    return f"{word} ({stage})" if method in AT_A_STAGE else word
