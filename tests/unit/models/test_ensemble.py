"""Members and views as one network: against loops, entropies and turned images."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from tests.builders.runs import build_member

from leukoscope.errors import ConfigError
from leukoscope.models.ensemble import Ensemble, list_views, mix_answers


@pytest.fixture(scope="module")
def members():
    return [build_member(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def images():
    """Large patches, which show where up is."""
    rough = torch.rand((5, 3, 4, 4), generator=torch.Generator().manual_seed(9)) * 2 - 1
    return torch.nn.functional.interpolate(rough, size=(32, 32), mode="bilinear")


@torch.inference_mode()
def ask(network, images):
    logits, out = network(images)
    return logits.numpy(), {name: value.numpy() for name, value in out.items()}


def softmax(logits):
    return torch.softmax(torch.from_numpy(logits).double(), 1).numpy()


TURNS = {
    "across": lambda x: torch.flip(x, (3,)),
    "down": lambda x: torch.flip(x, (2,)),
    "half turn": lambda x: torch.rot90(x, 2, (2, 3)),
    "quarter turn": lambda x: torch.rot90(x, 1, (2, 3)),
    "quarter turn back": lambda x: torch.rot90(x, 3, (2, 3)),
    "transposed": lambda x: x.transpose(2, 3),
}


@pytest.mark.parametrize("views", [1, 4, 8])
def test_the_mean_probability_is_that_of_a_loop(members, images, views):
    logits, out = ask(Ensemble(members, views).eval(), images)
    group = [
        lambda x: x,
        lambda x: x.flip(3),
        lambda x: x.flip(2),
        lambda x: torch.rot90(x, 2, (2, 3)),
    ]
    if views == 8:
        group += [lambda x, act=act: torch.rot90(act(x), 1, (2, 3)) for act in group]
    answers = [[ask(m, act(images)) for act in group[:views]] for m in members]
    each = np.array([softmax(z) for row in answers for z, _ in row])
    np.testing.assert_allclose(softmax(logits), each.mean(0), atol=1e-6)
    # Logits are log-probabilities already: nothing is left to normalise.
    np.testing.assert_allclose(np.exp(logits.astype(float)).sum(1), 1, atol=1e-5)
    information = entropy(each.mean(0), axis=1) - entropy(each, axis=2).mean(0)
    np.testing.assert_allclose(out["disagreement"], information, atol=1e-6)
    assert information.min() > 1e-3  # the witness sees something
    wanted = [np.mean([o["embedding"] for _, o in row], axis=0) for row in answers]
    np.testing.assert_allclose(out["embedding"], np.concatenate(wanted, 1), atol=1e-5)
    assert out["embedding"].shape[1] == 48


def test_the_first_member_is_kept_for_explanation(members, images):
    ensemble = Ensemble(members, 8).eval()
    _, out = ask(ensemble, images)
    _, own = ask(members[0], images)
    for name in ("stem", "stage_1", "stage_2"):
        np.testing.assert_allclose(out[name], own[name], atol=1e-4)
    assert ensemble.first is members[0]
    _, out = ensemble(images)
    out["logits"][0].max().backward()
    assert all(member.head.weight.grad.abs().sum() > 0 for member in ensemble.members)


@pytest.mark.parametrize("copies", [1, 3])
def test_equal_members_are_the_member(members, images, copies):
    logits, out = ask(Ensemble([members[0]] * copies).eval(), images)
    own, _ = ask(members[0], images)
    np.testing.assert_allclose(softmax(logits), softmax(own), atol=1e-6)
    assert (out["disagreement"] >= 0).all() and out["disagreement"].max() < 1e-6


@pytest.mark.parametrize(
    ("views", "same"), [(1, []), (4, ["across", "down", "half turn"]), (8, list(TURNS))]
)
def test_the_answer_does_not_depend_on_how_the_image_lies(members, images, views, same):
    ensemble = Ensemble(members[:2], views).eval()
    logits, out = ask(ensemble, images)
    for name, turn in TURNS.items():
        turned, other = ask(ensemble, turn(images).contiguous())
        distance = np.abs(softmax(turned) - softmax(logits)).max()
        apart = np.abs(other["embedding"] - out["embedding"]).max()
        if name in same:
            assert distance < 1e-5 and apart < 1e-4, name
            np.testing.assert_allclose(other["disagreement"], out["disagreement"], atol=1e-5)
        else:  # the control: these networks do see how an image lies
            assert distance > 1e-3 and apart > 1e-3, name


def test_views_are_the_group_each_once():
    image = torch.arange(3 * 4 * 4.0).reshape(1, 3, 4, 4)
    wanted = set()
    for k in range(4):
        turned = torch.rot90(image, k, (2, 3))
        wanted |= {x.contiguous().numpy().tobytes() for x in (turned, turned.flip(3))}
    found = [view.contiguous().numpy().tobytes() for view in list_views(image, 8)]
    assert len(wanted) == 8 and set(found) == wanted and len(found) == 8
    assert len(list_views(image, 4)) == 4 and list_views(image, 1)[0] is image


def test_extremes_stay_finite():
    """Members that are certain, and certain of different things; what underflows is not lost."""
    answers = torch.tensor([[[0.0, -300.0, -1e4]], [[-300.0, 0.0, -1e4]]])
    mean, information = mix_answers(answers)
    np.testing.assert_allclose(mean.numpy(), [[-np.log(2), -np.log(2), -1e4]], rtol=1e-6)
    assert information.item() == pytest.approx(np.log(2))
    mean, information = mix_answers(answers[:1].repeat(4, 1, 1))
    assert torch.equal(mean, answers[0]) and information.item() == 0


def test_members_that_do_not_fit_are_rejected(members):
    for others in (
        [],
        [members[0], build_member(1, n_classes=3)],
        [members[0], build_member(1, size=64)],
    ):
        with pytest.raises(ConfigError, match="one number of classes and one image size"):
            Ensemble(others)
    with pytest.raises(ConfigError, match="3 views"):
        Ensemble(members, 3)


def test_the_spec_tells_what_it_is_made_of(members):
    spec = Ensemble([*members[:2], build_member(3, name="other")], 4).spec
    assert spec.name == "2 x tiny + 1 x other, 4 views"
    assert (spec.n_classes, spec.image_size, spec.views, len(spec.members)) == (4, 32, 4, 3)
    assert Ensemble(members).spec.name == "3 x tiny"
