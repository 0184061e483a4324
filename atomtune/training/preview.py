"""Preview images while training (`--sample-every`), and a contact sheet of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..adapt import cached_weights
from ..data.concept import expand
from ..data.contact_sheet import contact_sheet
from ..errors import excerpt
from ..files.png import save_png
from ..models.conditioning import Embeddings, embed, embed_negative, text_encoders
from ..runtime.progress import Events
from ..runtime.seeds import derived_seed
from ..sampling.generate import generate
from ..sampling.options import Settings
from .model import computing_in
from .options import PreviewOptions, TrainOptions
from .run_folder import RunFolder

_COLUMNS = 12  # of the sheet, however many previews there are
_THUMBNAIL = 256  # pixels, the longer side on the sheet


class Preview:
    """Generates prompts with the adapted UNet as it is now.

    The same prompt has the same seed at every step, so that the sheet shows what training changes and nothing else.

    Args:
        prompts: with the concept's words in them.
        seed: of the run.
        merged: generate with weights that are merged once; needs memory for them.
        encoders_learn: the text encoders are trained too, so the prompts are embedded anew each time.
    """

    def __init__(
        self,
        pipeline: Any,
        options: PreviewOptions,
        prompts: Sequence[str],
        seed: int,
        folder: RunFolder,
        device: torch.device,
        events: Events,
        *,
        precision: str = "fp32",
        merged: bool = True,
        encoders_learn: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.device = device
        self.events = events
        self.encoders_learn = encoders_learn
        self.precision, self.merged = precision, merged
        self._embedded: tuple[Embeddings, Embeddings] | None = None
        self.settings = Settings(steps=options.sample_steps)
        self.prompts = list(prompts)
        self.seeds = [derived_seed(seed, "preview", i) for i in range(len(self.prompts))]

    def generate(self, step: int) -> None:
        """Generate every prompt and update the sheet; a failure is a warning, as training goes on without."""
        try:
            self._generate(step)
        except Exception as problem:  # out of memory, a full disk, whatever a library raises: none is worth the run
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.events.warn(f"the preview of step {step} failed ({excerpt(problem)}); training goes on")

    def _generate(self, step: int) -> None:
        learning = [self.pipeline.unet, *(text_encoders(self.pipeline).values() if self.encoders_learn else ())]
        for part in learning:
            part.eval()
        self.pipeline.vae.to(self.device)
        try:
            with self._as_trained():
                images = generate(self.pipeline, *self._embed(), self.seeds, self.settings)
        finally:
            self.pipeline.vae.to("cpu")
            for part in learning:
                part.train()
        for i, image in enumerate(images):
            path = self.folder.preview(step, i)
            self.folder.manifest.add(path)
            save_png(path, image)
        self._write_sheet()

    @contextmanager
    def _as_trained(self) -> Iterator[None]:
        """Within the context the UNet computes in the dtype it is trained in, from weights merged once."""
        unet = self.pipeline.unet
        precision = self.precision if self.device.type == "cuda" else "fp32"
        with computing_in(unet, precision), cached_weights(unet) if self.merged else nullcontext():
            yield

    def _embed(self) -> tuple[Embeddings, Embeddings]:
        if self._embedded is None or self.encoders_learn:
            negative = embed_negative(self.pipeline, self.settings.negative_prompt)
            self._embedded = embed(self.pipeline, self.prompts), negative
        return self._embedded

    def _write_sheet(self) -> None:
        steps = spread(self.folder.preview_steps(len(self.prompts)), _COLUMNS)
        rows = [[_thumbnail(self.folder.preview(step, i)) for step in steps] for i in range(len(self.prompts))]
        labels = [f"step {step}" for step in steps]
        save_png(self.folder.preview_sheet, contact_sheet(rows, self.prompts, labels, least=128))


def preview_prompts(options: TrainOptions) -> list[str]:
    """The prompts of a run's previews, with the concepts' words; none without them. Raises UsageError as `expand`."""
    if not options.sample_every:
        return []
    if options.sample_prompts:
        return [expand(prompt, options.concepts) for prompt in options.sample_prompts]
    return [expand(taught.prompt, options.concepts, own=taught.concept) for taught in options.taught]


def spread(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the values, the first and the last among them and the others evenly between."""
    if len(values) <= most:
        return list(values)
    return [values[round(place * (len(values) - 1) / (most - 1))] for place in range(most)]


def _thumbnail(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.thumbnail((_THUMBNAIL, _THUMBNAIL))
        return image.convert("RGB")
