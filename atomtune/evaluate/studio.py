"""Where an evaluation's pictures are drawn: by the base model, by every set of atoms, and on the strip."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ..core.fingerprint import fingerprint
from ..diffusion.events import Events
from ..diffusion.sampling.combine import LoadedAtoms, wearing
from ..diffusion.sampling.sample import load_sampler
from ..diffusion.training.preview import save_png
from .pictures import Dressed, PictureSet, draw_all
from .strip import strip
from .subject import EvaluateOptions, Subject

WITHOUT_CONCEPT = (
    "a dog in the snow",
    "a car on a cobblestone street",
    "a boat floating on top of water",
    "a teapot on top of a wooden floor",
    "a clock on top of a white rug",
    "a robot in the jungle",
    "a house with a mountain in the background",
    "a backpack on top of a dirt road",
    "a fish in the snow",
    "a cup on top of pink fabric",
)
"""What drift is measured on: plain prompts that any base model of this project can draw."""


@dataclass(frozen=True)
class Sets:
    """Pictures of the prompts, and of those without the concept, by one set of atoms or by none."""

    prompts: PictureSet
    without: PictureSet

    @property
    def both(self) -> tuple[PictureSet, PictureSet]:
        """The two."""
        return self.prompts, self.without


class Studio:
    """Draws what is missing of an evaluation's pictures, and finds the others by their settings below `root`.

    The base model is loaded when the first picture is missing, and once.
    """

    def __init__(self, subject: Subject, options: EvaluateOptions, root: Path, events: Events) -> None:
        self.subject = subject
        self.options = options
        self.root = root
        self.events = events

    @cached_property
    def base(self) -> Any:
        """The base model's pipeline, ready to draw."""
        source, options = self.subject.source, self.options
        self.events.phase(f"loading {source.name}")
        return load_sampler(source, options.scheduler, options.device, options.precision)

    @cached_property
    def key(self) -> dict[str, Any]:
        """What decides every picture, whatever the atoms."""
        options = self.options
        own = self.subject.atoms[-1][1].info.base_fingerprint
        return {
            "base": own if options.model is None else fingerprint(self.base.unet),
            "settings": [str(options.settings), options.scheduler, options.precision],
        }

    def draw(self) -> tuple[Sets, list[Sets]]:
        """The base model's pictures, and those of every set of atoms, all there."""
        atoms = [atoms for _, atoms in self.subject.atoms]
        plain = self._sets({"atoms": ""})
        tuned = [self._sets({"atoms": item.sha256, "scale": self.options.scale}) for item in atoms]
        work: list[tuple[Sequence[PictureSet], Dressed]] = [(plain.both, partial(self._dressed, ()))]
        work += [(sets.both, partial(self._dressed, (item,))) for item, sets in zip(atoms, tuned, strict=True)]
        draw_all(work, self.options.settings, self.options.batch_size, self.events)
        return plain, tuned

    def strip(self) -> Path:
        """The sheet of steps × strengths, drawn once for its settings."""
        options, subject = self.options, self.subject
        own = {
            **self.key,
            "atoms": [atoms.sha256 for _, atoms in subject.atoms],
            "strengths": options.strengths,
            "seed": options.seed,
        }
        prompt = subject.prompts[0]
        path = PictureSet.under(self.root, own, [prompt], []).folder / "strip.png"
        if not path.is_file():
            sheet = strip(
                self.base, subject.atoms, options.strengths, prompt, options.seed, options.settings, self.events
            )
            save_png(path, sheet)
        return path

    def _sets(self, of: dict[str, Any]) -> Sets:
        key, seeds = {**self.key, **of}, [self.options.seed + k for k in range(self.options.per_prompt)]
        return Sets(
            PictureSet.under(self.root, key, self.subject.prompts, seeds),
            PictureSet.under(self.root, key, WITHOUT_CONCEPT, seeds[:1]),
        )

    def _dressed(self, atoms: Sequence[LoadedAtoms]) -> AbstractContextManager[Any]:
        return wearing(self.base, atoms, self.events)
