"""The kinds of maps. What this file does not do: it makes none of them, and words none."""

from typing import Literal, get_args

Method = Literal["gradcam", "hirescam", "gradients", "occlusion", "attention"]

METHODS: tuple[Method, ...] = get_args(Method)

RUN_METHODS: tuple[Method, ...] = ("gradcam", "hirescam", "occlusion")
"""What a trained network is explained by unless asked otherwise."""

STAGE_METHODS: tuple[Method, ...] = ("gradcam", "hirescam")
"""Methods that read the feature map of one stage."""
