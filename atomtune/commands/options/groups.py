"""Options that several commands have and no library function: which concepts, and whether to replace what is there."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...runtime.option import option
from ...runtime.options import Options
from ...sampling.options import PROMPTS, RUNS, no_such_concept, trained_concepts


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Options, panel="Output"):
    """Whether what is there may be replaced."""

    overwrite: bool = option(False, "Replace what is there.", essential=True)


@dataclass(frozen=True, kw_only=True)
class SourceOptions(Options, panel=PROMPTS):
    """Atoms files: those of runs, and others."""

    concepts: tuple[str, ...] = option(
        (),
        "Concept of runs/NAME; several add up.",
        name="concept",
        metavar="NAME",
        word="first",
        completes=trained_concepts,
    )
    atoms: tuple[str, ...] = option(
        (),
        "Atoms file or hub id (org/mug, org/mug@revision:file), and its scale; several add up.",
        metavar="FILE[:SCALE]",
        aliases=("lora_weights",),
    )
    step: int | None = option(
        None,
        "Use the atoms as they were after this step.",
        at_least=1,
        shown_default="the last",
        metavar="N",
    )
    scale: float = option(
        1.0, "Scale of all concepts, multiplied with their own.", metavar="X", aliases=("lora_scale",)
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """See `Options.check`."""
        if self.step is not None and not self.concepts:
            yield "step", "needs --concept: --atoms names the file of a step itself"

    def files(self) -> list[tuple[Path, float]]:
        """Atoms files with their scales.

        Raises AtomtuneError for a concept without a run, UsageError where a step's atoms were not kept.
        """
        from ...training.run_folder import RunFolder

        for name in self.concepts:
            if not (RUNS / name).is_dir():
                raise no_such_concept(name)
        found = [(RunFolder(RUNS / name).atoms_at(self.step), 1.0) for name in self.concepts]
        found += [(_fetched(source), scale) for source, scale in map(atoms_source, self.atoms)]
        return [(file, scale * self.scale) for file, scale in found]


def _fetched(source: Path) -> Path:
    """The file of a hub id, downloaded where it is not in the cache; a path as it is. Raises as `find_file`."""
    from ...api.sources import find_file, is_hub_id

    return find_file(source) if is_hub_id(source) else source


def atoms_source(text: str) -> tuple[Path, float]:
    """Split FILE[:SCALE] into file and scale, 1 without one. A file whose own name ends like that is taken as it is."""
    file, colon, scale = text.rpartition(":")
    if not colon or Path(text).exists():
        return Path(text), 1.0
    try:
        return Path(file), float(scale)
    except ValueError:
        return Path(text), 1.0
