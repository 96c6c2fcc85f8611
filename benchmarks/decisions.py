"""Does a bundle decide as its run does? Every decision of the run's own images, both ways.

    python benchmarks/decisions.py RUN BUNDLE [IMAGES]

The run: logits and embeddings of its score table (PyTorch), quality of its pack. The bundle: the
files, decoded and scored by ONNX Runtime. Images that did not train the network,
2,000 at most unless IMAGES says otherwise.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from leukoscope.deploy.predictor import Predictor
from leukoscope.runfolder import RunFolder
from leukoscope.scores import load_scores
from leukoscope.trust.decision import decide_table
from leukoscope.trust.record import load_trust


def main() -> None:
    run, bundle = RunFolder(Path(sys.argv[1])), Path(sys.argv[2])
    most = int(sys.argv[3]) if len(sys.argv) > 3 else 2000
    scores, trust = load_scores(run.scores), load_trust(run)
    assert trust is not None, "calibrate the run first"
    rows = np.flatnonzero(np.array(scores.roles) != "train")
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    table = scores.take(rows)
    wanted = decide_table(trust.info.policy, trust.novelty, table)
    predictor = Predictor(bundle)
    found = list(predictor.predict_files(table.paths))
    labels = [table.classes[k] for k in wanted.labels_N]
    status = sum(a.decision != b for a, b in zip(found, wanted.status, strict=True))
    label = sum(a.label != b for a, b in zip(found, labels, strict=True))
    sets = sum(
        a.labels != tuple(table.classes[k] for k in np.flatnonzero(row))
        for a, row in zip(found, wanted.sets_NK, strict=True)
    )
    apart = max(abs(a.confidence - b) for a, b in zip(found, wanted.confidence_N, strict=True))
    print(f"{len(rows):,} images: {dict(Counter(wanted.status))}")
    print(f"other decision: {status}, other label: {label}, other prediction set: {sets}")
    print(f"largest difference of confidence: {apart:.2g}")


if __name__ == "__main__":
    main()
