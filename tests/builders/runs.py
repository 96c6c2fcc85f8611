"""Small networks and run folders as training leaves them, without training."""

from dataclasses import replace

import torch

from leukoscope.config import SavedRecipe, load_recipe
from leukoscope.data.pack import build_pack
from leukoscope.data.splits import hash_split, save_split
from leukoscope.models.coatnet import CoAtNet, CoAtNetSpec, StageSpec
from leukoscope.pipelines.data import used_rows
from leukoscope.records import save_record
from leukoscope.runfolder import RunFolder, RunProvenance, collect_provenance
from leukoscope.scores import save_scores
from leukoscope.scoring import score_records
from leukoscope.training.checkpoint import WeightsState, save_tensors
from leukoscope.training.record import bind_scores
from leukoscope.training.trained import load_trained, save_trained

SETTINGS = ["input.image_size=32", "train.epochs=3", "train.batch_size=8", "optim.lr=0.003"]
STAGES = (StageSpec("mbconv", 1, 8), StageSpec("transformer", 1, 16, 2))
RECIPE = load_recipe("quick", ["input.image_size=32", "train.precision=fp32"])
CPU = torch.device("cpu")


def build_member(seed, n_classes=4, size=32, name="tiny"):
    """A small network whose answers differ from image to image and from view to view."""
    torch.manual_seed(seed)
    spec = CoAtNetSpec(name, "paper", 8, STAGES, "silu", 0.0, "expand", 1e-5, 0.1)
    network = CoAtNet(replace(spec, n_classes=n_classes, image_size=size))
    with torch.no_grad():
        network(torch.randn(16, 3, size, size))  # statistics that are not the fresh ones
        network.head.weight.normal_(0, 2)
        for name, parameter in network.named_parameters():
            if "bias_table" in name:
                parameter.normal_(0, 2)
    return network.eval()


def write_run(folder, split, seed, recipe=RECIPE):
    """A run folder as training leaves it, with a network that was never trained."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    member = build_member(seed)
    save_tensors(run.best, member.state_dict(), WeightsState(3))
    save_split(split, run.split)
    train = recipe.train.model_copy(update={"seed": seed})
    saved = SavedRecipe.of(recipe.model_copy(update={"train": train}))
    save_record(saved, run.recipe)
    origin = RunProvenance(
        **vars(collect_provenance()),
        recipe_hash=saved.hash,
        split_sha256=hash_split(split),
        seeds=(seed,),
        packs=str(folder.parent / "packs"),
    )
    save_record(origin, run.provenance)
    save_trained(run, member.spec, split.catalog.classes, recipe.input, hash_split(split))
    records, roles = used_rows(split)
    sources = [s for s, role in zip(split.sources, split.roles, strict=True) if role]
    pack = build_pack(records, recipe.input, folder.parent / "packs")
    trained = load_trained(run, CPU)
    save_scores(score_records(trained, records, pack, roles.tolist(), sources, False), run.scores)
    bind_scores(run)
    return folder
