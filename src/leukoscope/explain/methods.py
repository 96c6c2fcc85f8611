"""The methods that make maps, and their names. What this file does not do: it makes no map."""

from typing import Literal, get_args

Method = Literal["gradcam", "hirescam", "gradients", "occlusion", "attention"]

METHODS: tuple[Method, ...] = get_args(Method)

RUN_METHODS: tuple[Method, ...] = ("gradcam", "hirescam", "occlusion")
"""What a trained network is explained by unless asked otherwise."""

STAGE_METHODS: tuple[Method, ...] = ("gradcam", "hirescam")
"""Methods that read the feature map of one stage."""

METHOD_NAMES: dict[Method, str] = {
    "gradcam": "Grad-CAM",
    "hirescam": "HiResCAM",
    "gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "attention": "Attention rollout",
}


def name_method(method: Method, stage: str) -> str:
    """Return a method in words, with its stage where it has one.

    >>> name_method("gradcam", "stage_2"), name_method("occlusion", "stage_2")
    ('Grad-CAM (stage_2)', 'Occlusion')
    """
    name = METHOD_NAMES[method]
    return f"{name} ({stage})" if method in STAGE_METHODS else name
