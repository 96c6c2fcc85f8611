import numpy as np
import pytest
import torch
from tests.builders.runs import build_member
from torch import nn

from leukoscope.models.ensemble import Ensemble
from leukoscope.training.scoring import score_images


class Network(nn.Module):
    """Logits and embedding are simple functions of the pixels, changed by training mode."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[1.0], [-2.0], [0.5]]))
        self.dropout = nn.Dropout(0.5)
        self.sizes = []

    def forward(self, images_BCHW):
        assert torch.is_inference_mode_enabled()
        assert images_BCHW.dtype == torch.float32
        self.sizes.append(len(images_BCHW))
        embedding = self.dropout(images_BCHW.mean((2, 3)))
        logits = embedding.sum(1, keepdim=True) @ self.weight.T
        return logits, {"embedding": embedding, "logits": logits}


@pytest.fixture
def pack():
    return np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_images_are_scored_in_their_order(pack, batch_size):
    network = Network().train()
    images = pack[[9, 0, 3, 3, 7]]
    logits, embeddings, disagreement = score_images(network, images, batch_size=batch_size)
    assert disagreement is None  # of one network there is none
    expected = (images / 127.5 - 1).mean((1, 2))
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
    np.testing.assert_allclose(logits, expected.sum(1, keepdims=True) * [1, -2, 0.5], atol=1e-5)
    assert logits.dtype == embeddings.dtype == np.float32
    assert max(network.sizes) <= batch_size and sum(network.sizes) == 5
    assert not network.training


def test_half_precision_weights_are_scored_in_fp32_out(pack):
    class Half(Network):
        def forward(self, images_BCHW):
            logits, out = super().forward(images_BCHW)
            return logits.bfloat16(), {k: v.bfloat16() for k, v in out.items()}

    logits, embeddings, _ = score_images(Half(), pack[:3])
    assert logits.dtype == embeddings.dtype == np.float32


def test_progress_is_told(pack):
    heard = []
    score_images(Network(), pack, batch_size=4, on_progress=lambda *x: heard.append(x))
    assert heard == [(4, 10), (8, 10), (10, 10)]


def test_no_rows_give_empty_arrays(pack):
    logits, embeddings, disagreement = score_images(Network(), pack[:0])
    assert logits.shape == embeddings.shape == (0, 0) and disagreement is None


def test_disagreement_is_collected_where_a_network_gives_it(pack):
    class Joint(Network):
        def forward(self, images_BCHW):
            logits, out = super().forward(images_BCHW)
            return logits, out | {"disagreement": images_BCHW.mean((1, 2, 3))}

    images = pack[[7, 2, 2, 5, 0]]
    found = score_images(Joint(), images, batch_size=2)
    expected = (images / 127.5 - 1).mean((1, 2, 3))
    np.testing.assert_allclose(found.disagreement_N, expected, atol=1e-6)
    assert found.disagreement_N.dtype == np.float32


def test_many_views_make_smaller_batches():
    """Eight views of each of 64 images at once would fill the memory of a small machine."""
    ensemble = Ensemble([build_member(0)], 8)
    sizes = []
    ensemble.first.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    found = score_images(ensemble, images, batch_size=16)
    assert sizes == [16, 16, 8]
    whole = score_images(ensemble, images, batch_size=64)
    for part, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(part, other, atol=1e-4)
