"""Preview images while training (`--sample-every`), and a contact sheet of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from PIL import Image

from ..adapt import cached_weights
from ..data.contact_sheet import contact_sheet
from ..files.png import save_png
from ..models.conditioning import Embeddings, embed, embed_negative, text_encoders
from ..runtime.seeds import derived_seed
from ..sampling.generate import generate
from ..sampling.options import Settings
from .model import TYPES
from .options import PreviewOptions
from .run_folder import RunFolder


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
        *,
        precision: str = "fp32",
        merged: bool = True,
        encoders_learn: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.device = device
        self.encoders_learn = encoders_learn
        self.precision, self.merged = precision, merged
        self._embedded: tuple[Embeddings, Embeddings] | None = None
        self.settings = Settings(steps=options.sample_steps)
        self.prompts = list(prompts)
        self.seeds = [derived_seed(seed, "preview", i) for i in range(len(self.prompts))]

    def generate(self, step: int) -> None:
        """Generate every prompt and update the sheet."""
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
            save_png(self.folder.previews / f"step-{step:06d}-{i}.png", image)
        self._write_sheet()

    @contextmanager
    def _as_trained(self) -> Iterator[None]:
        """Within the context the UNet computes in the dtype it is trained in, from weights merged once."""
        unet = self.pipeline.unet
        kind = TYPES.get(self.precision)
        if self.device.type == "cuda" and kind is not None:
            unet.forward = torch.autocast("cuda", dtype=kind)(unet.forward)
        try:
            with cached_weights(unet) if self.merged else nullcontext():
                yield
        finally:
            vars(unet).pop("forward", None)

    def _embed(self) -> tuple[Embeddings, Embeddings]:
        if self._embedded is None or self.encoders_learn:
            negative = embed_negative(self.pipeline, self.settings.negative_prompt)
            self._embedded = embed(self.pipeline, self.prompts), negative
        return self._embedded

    def _write_sheet(self) -> None:
        rows: list[list[Image.Image]] = []
        steps: list[str] = []
        for i in range(len(self.prompts)):
            paths = sorted(self.folder.previews.glob(f"step-*-{i}.png"))
            steps = [f"step {int(path.name.split('-')[1])}" for path in paths]
            rows.append([Image.open(path) for path in paths])
        save_png(self.folder.preview_sheet, contact_sheet(rows, self.prompts, steps, least=128))
