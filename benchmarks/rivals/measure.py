"""One measurement in a process of its own.

`python -m benchmarks.rivals.measure PART CANDIDATE SETTING` prints its answer as
JSON in the last line; other libraries may print before.
"""

import json
import sys
import time

from benchmarks.rivals.setting import Setting, read_setting


def measure(part: str, candidate: str, setting: Setting) -> object:
    """Seconds per batch; for `flops`, `graphs` and `scaling` what these return."""
    if part == "feeding":
        from benchmarks.rivals import feeding

        work = feeding.CANDIDATES[candidate](setting)
    elif part in ("hematology", "paper"):
        from benchmarks.rivals import training

        if candidate == "flops":
            return training.count_step_flops(setting)
        group = training.HEMATOLOGY if part == "hematology" else training.PAPER
        work = group[candidate](setting)
    elif part == "scaling":
        from benchmarks.rivals import scaling

        return scaling.measure_scaling(setting, quick=candidate == "quick")
    else:
        from benchmarks.rivals import prediction

        if candidate == "graphs":
            prediction.write_graphs(setting)
            return None
        work = prediction.HEMATOLOGY[candidate](setting)
    for _ in range(setting.warm_up):
        work()
    start = time.perf_counter()
    for _ in range(setting.repeats):
        work()
    return (time.perf_counter() - start) / setting.repeats


if __name__ == "__main__":
    print("\n" + json.dumps(measure(sys.argv[1], sys.argv[2], read_setting(sys.argv[3]))))
