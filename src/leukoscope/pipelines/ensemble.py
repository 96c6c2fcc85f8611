"""From several trained runs, or one seen from several sides, to one run that answers for all.

What this file does not do: it trains nothing (`pipelines.distill` makes one network of an ensemble)
and averages nothing itself (`models.ensemble`, `trust.disagreement`).
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from leukoscope.config import SavedRecipe
from leukoscope.data.groups import group_sources, sources_known
from leukoscope.data.splits import Split, hash_split, join_splits, save_split
from leukoscope.errors import ConfigError, RunError
from leukoscope.pipelines.data import used_rows
from leukoscope.pipelines.extras import require_extra
from leukoscope.pipelines.runs import find_packs, load_run_scores, load_run_split
from leukoscope.progress import Progress, silent
from leukoscope.records import save_record
from leukoscope.runfolder import Member, RunFolder, RunProvenance, collect_provenance
from leukoscope.scoring import score_records
from leukoscope.storage import remove_leftovers, replacing

if TYPE_CHECKING:
    from leukoscope.evaluation.comparison import EnsembleComparison, EnsembleWarning, TestTimeViews
    from leukoscope.models.spec import ViewCount
    from leukoscope.scores import ScoreTable
    from leukoscope.training.trained import TrainedNetwork

_VIEWS: "dict[TestTimeViews, ViewCount]" = {"none": 1, "flips": 4, "dihedral": 8}

NEW_ROLES = ("calib", "test")
"""Roles that neither fitted nor chose a network."""


@dataclass(frozen=True)
class EnsembleRun:
    """What `build_ensemble` left: the folder, and the ensemble beside its members."""

    folder: RunFolder
    found: "EnsembleComparison"


def build_ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    tta: "TestTimeViews" = "none",
    packs: str | Path | None = None,
    progress: Progress = silent,
) -> EnsembleRun:
    """Make one run of several trained ones: averaged probabilities, and how far they disagree.

    With `tta` each member sees every image from several sides (`flips`: 4, `dihedral`: 8 with
    quarter turns), at so many times the cost; one run alone is then an ensemble too. The folder
    holds the members' weights, one split whose roles hold for all members (see `join_splits`), and
    a score table, computed from the members' own where that is enough. `evaluate`, `export` and
    `distill` take it as they take a trained run; the members' own folders are needed no more.
    `packs` is a folder of decoded images; by default the first member's.

    Raises `RunError` when members differ in classes or input, one is an ensemble itself, or `out`
    holds a run; `ConfigError` for one run without views; `SplitError` where their splits contradict
    each other; `MissingStepError` before training has ended.
    """
    require_extra("train")
    from leukoscope.models.ensemble import Ensemble
    from leukoscope.scores import save_scores
    from leukoscope.training.trained import load_trained, save_ensemble

    folders = [RunFolder(Path(run)) for run in runs]
    _check_choice(folders, tta)
    members = [load_trained(folder) for folder in folders]
    _check_members(folders, members)
    network = Ensemble([member.first for member in members], _VIEWS[tta])
    split = join_splits([load_run_split(folder) for folder in folders])
    run = RunFolder(Path(out))
    with run.lock():
        if run.model.is_file() or run.checkpoint.is_file():
            raise RunError(
                f"{run.path} must not hold a run yet",
                "a trained network or a checkpoint",
                "choose another --out",
            )
        remove_leftovers(run.path)
        save_split(split, run.split)
        origins = tuple(map(_describe, folders, members))
        recipe = _join_recipes(folders)
        save_record(recipe, run.recipe)
        provenance = RunProvenance(
            **vars(collect_provenance()),
            recipe_hash=recipe.hash,
            split_sha256=hash_split(split),
            seeds=tuple(origin.seed for origin in origins),
            packs=str(Path(packs or find_packs(folders[0])).resolve()),
            members=origins,
        )
        save_record(provenance, run.provenance)
        tables = _load_tables(folders)
        joint = replace(members[0], network=network.eval(), weights_sha256="")
        table = _score(run, joint, split, tables if tta == "none" else {}, progress)
        with replacing(run.scores) as temporary:
            save_scores(table, temporary)
        names = [f"{i} {origin.run}" for i, origin in enumerate(origins)]
        progress("Comparing", 0, 1)
        found = _compare(names, tables, table, network.spec.name, tta, split)
        progress("Comparing", 1, 1)
        save_record(found, run.ensemble)
        # Last: a folder with a model is complete.
        classes, config = members[0].classes, members[0].input
        save_ensemble(run, network, classes, config, hash_split(split))
    return EnsembleRun(run, found)


def _check_choice(folders: Sequence[RunFolder], tta: "TestTimeViews") -> None:
    paths = [folder.path.resolve() for folder in folders]
    if tta not in _VIEWS or not paths or (len(paths) == 1 and tta == "none"):
        raise ConfigError(
            "an ensemble needs at least two runs, or one run and several views of each image",
            f"{len(paths)} runs, --tta {tta}",
            "add runs, or --tta flips or --tta dihedral",
        )
    if len(set(paths)) < len(paths):
        raise ConfigError(
            "the members of an ensemble must be different runs",
            "one of them twice",
            "name each run once",
        )


def _check_members(folders: Sequence[RunFolder], members: "Sequence[TrainedNetwork]") -> None:
    from leukoscope.models.ensemble import Ensemble

    for folder, member in zip(folders, members, strict=True):
        if isinstance(member.network, Ensemble):
            raise RunError(
                "the members of an ensemble must be single networks",
                f"{folder.path} is an ensemble",
                "name the runs that it was made of",
            )
        for what in ("classes", "input"):
            own, wanted = getattr(member, what), getattr(members[0], what)
            if own != wanted:
                raise RunError(
                    f"the members of an ensemble must have the same {what}",
                    f"{folders[0].path}: {wanted}; {folder.path}: {own}",
                    "train them on the same classes with the same recipe.input",
                )


def _describe(folder: RunFolder, member: "TrainedNetwork") -> Member:
    """Where a member comes from."""
    from leukoscope.training.record import load_model_record

    provenance, recipe = folder.load_provenance(), folder.load_recipe()
    return Member(
        run=folder.path.resolve().name,
        network=member.network.spec.name,
        sha256=member.weights_sha256,
        best_epoch=load_model_record(folder).best_epoch,
        recipe=recipe.name,
        recipe_hash=recipe.hash,
        seed=recipe.train.seed,
        split_sha256=provenance.split_sha256,
        leukoscope=provenance.leukoscope,
        started=provenance.started,
    )


def _join_recipes(folders: Sequence[RunFolder]) -> SavedRecipe:
    """The recipe of the first member, whose input and trust hold for all; its hash names all."""
    recipes = [folder.load_recipe() for folder in folders]
    hashes = list(dict.fromkeys(recipe.hash for recipe in recipes))
    if len(hashes) == 1:
        return recipes[0]
    joined = hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]
    names = dict.fromkeys(recipe.name for recipe in recipes)
    return recipes[0].model_copy(update={"name": " + ".join(names), "hash": joined})


def _load_tables(folders: Sequence[RunFolder]) -> "dict[int, ScoreTable]":
    """The members' own score tables, as far as they are there, by the member's number."""
    return {i: load_run_scores(f) for i, f in enumerate(folders) if f.scores.is_file()}


def _score(
    run: RunFolder,
    joint: "TrainedNetwork",
    split: Split,
    tables: "dict[int, ScoreTable]",
    progress: Progress,
) -> "ScoreTable":
    """The ensemble's score table: from the members' own where they hold all images, else by the
    network."""
    import numpy as np

    from leukoscope.data.pack import build_pack
    from leukoscope.trust.disagreement import combine_tables

    records, roles = used_rows(split)
    pairs = zip(group_sources(split.catalog), split.roles, strict=True)
    sources = tuple(source for source, role in pairs if role)
    known = sources_known(split.catalog)
    ids = tuple(record.id for record in records)
    n_members = len(joint.network.spec.members)  # type: ignore[union-attr]
    if len(tables) == n_members and all(set(t.ids) == set(ids) for t in tables.values()):
        table = combine_tables([tables[i] for i in range(n_members)])
        place = {name: i for i, name in enumerate(table.ids)}
        table = table.take(np.array([place[name] for name in ids], np.intp))
        return replace(table, roles=tuple(roles.tolist()), sources=sources, source_known=known)
    pack = build_pack(
        records, joint.input, find_packs(run), lambda d, t: progress("Decoding images", d, t)
    )
    return score_records(joint, records, pack, roles.tolist(), sources, known, progress)


def _compare(
    names: Sequence[str],
    tables: "dict[int, ScoreTable]",
    table: "ScoreTable",
    name: str,
    tta: "TestTimeViews",
    split: Split,
) -> "EnsembleComparison":
    """Figures of members and ensemble on images that are new to all of them, if there are any."""
    import numpy as np

    from leukoscope.evaluation.comparison import FEW_NEW_FRAC, EnsembleComparison, compute_rows

    role_of = dict(zip(table.ids, table.roles, strict=True))
    roles = [role for role in NEW_ROLES if role in table.roles]
    n_new = sum(role in NEW_ROLES for role in table.roles)
    warnings: list[EnsembleWarning] = []
    if "test" in roles:
        shown = {}
        for i, own in tables.items():
            rows = [row for row, image in enumerate(own.ids) if role_of.get(image) in NEW_ROLES]
            part = own.take(np.array(rows, np.intp))
            shown[names[i]] = replace(part, roles=tuple(role_of[image] for image in part.ids))
        figures = compute_rows({**shown, name: table}, roles)
        if n_new < FEW_NEW_FRAC * len(table):
            warnings.append("few_new_images")
    else:
        warnings.append("no_new_test_images")
        own_test = compute_rows({names[i]: own for i, own in tables.items()}, ["test"])
        figures = tuple(replace(row, role="own test") for row in own_test)
    unscored = tuple(names[i] for i in range(len(names)) if i not in tables)
    if unscored:
        warnings.append("members_without_scores")
    return EnsembleComparison(
        name=name,
        tta=tta,
        roles=dict(Counter(role for role in split.roles if role)),
        n_images=len(table),
        n_new=n_new,
        unscored=unscored,
        figures=figures,
        warnings=tuple(warnings),
    )
