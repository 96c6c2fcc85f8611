"""What is measured, and under which setting; shared by the process that asks and those that do.

Every candidate is measured in a process of its own, for libraries keep threads, pools and memory
that would run beside another. What this file does not do: it measures nothing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from leukoscope.errors import ConfigError

Part = Literal["feeding", "training", "prediction", "command", "scaling"]
PARTS: tuple[Part, ...] = ("feeding", "training", "prediction", "command", "scaling")

Work = Callable[[], object]
"""One batch of work; when it returns, the work is done (also on a GPU)."""


@dataclass(frozen=True)
class Setting:
    """Sizes of a measurement. `batch` images of `size_px` pixels; each process takes `warm_up`
    batches that do not count and then `repeats` that do. `images` is a folder of JPEG files, one
    folder per class, and `place` one for what is prepared. `precision` is fp32 or bf16."""

    images: str
    place: str
    batch: int = 32
    size_px: int = 224
    preset: str = "coatnet-hematology"
    precision: str = "fp32"
    warm_up: int = 1
    repeats: int = 2

    @property
    def folder(self) -> Path:
        """The folder for what is prepared."""
        return Path(self.place)

    def list_files(self) -> list[Path]:
        """Return the image files, sorted by name."""
        from leukoscope.deploy.files import list_images

        return list_images([self.images])

    def to_json(self) -> str:
        """Return the setting as one line."""
        return json.dumps(asdict(self))


def parse_parts(names: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts of such names, all of them for none. Raises `ConfigError` for another."""
    for name in names:
        if name not in PARTS:
            raise ConfigError(
                f"a part of the benchmark is one of {', '.join(PARTS)}",
                name,
                "choose one of these by --only",
            )
    return tuple(part for part in PARTS if not names or part in names)


def read_setting(line: str) -> Setting:
    """Return the setting of such a line."""
    return Setting(**json.loads(line))
