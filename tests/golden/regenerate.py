"""Write coatnet.json: outputs of every small-enough preset at three depths, for fixed weights.

Run `python tests/golden/regenerate.py` only after a change that is meant to change the numbers,
and say so in the commit. Weights and inputs come from a formula, not from a random generator,
so that the numbers depend on nothing but the network.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch

from leukoscope.models.coatnet import CoAtNet
from leukoscope.models.presets import PRESETS

NAMES = ("coatnet-hematology", "coatnet-0", "coatnet-pico", "coatnet-nano")
GOLDEN = Path(__file__).with_name("coatnet.json")


def compute_golden(name: str) -> dict[str, list[float]]:
    """Return logits, the first 8 numbers of the embedding, and mean and spread of each stage."""
    network = CoAtNet(replace(PRESETS[name], n_classes=4, image_size=64)).eval()
    with torch.no_grad():
        for number, tensor in enumerate(network.state_dict().values()):
            if not tensor.is_floating_point():
                continue
            wave = torch.sin(torch.arange(tensor.numel(), dtype=torch.float64) * 0.7 + number)
            # Fan-in scaling keeps activations of order one; one-dimensional tensors are norms,
            # statistics and biases, which stay near 1 (a variance must be positive).
            wave = wave / tensor[0].numel() ** 0.5 if tensor.ndim > 1 else 1 + 0.1 * wave
            tensor.copy_(wave.view(tensor.shape))
        ramp = torch.arange(2 * 3 * 64 * 64, dtype=torch.float64).view(2, 3, 64, 64)
        logits, out = network(torch.sin(ramp * 0.01).float())
    found = {"logits": logits.flatten().tolist(), "embedding": out["embedding"][0, :8].tolist()}
    for key, value in out.items():
        if key.startswith(("stem", "stage")):
            found[key] = [value.mean().item(), value.std().item()]
    return found


if __name__ == "__main__":
    golden = {name: compute_golden(name) for name in NAMES}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
