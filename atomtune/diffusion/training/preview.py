"""Pictures drawn while training, and the strip of them."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ...files.atomic import write_atomically
from ..concept import expand
from ..sampling.generate import Settings, embed, generate
from ..seeds import derived_seed
from ..sheet import contact_sheet
from .options import TrainOptions
from .run_folder import RunFolder


class Preview:
    """Draws the sample prompts of a run with the adapted UNet as it stands.

    The prompts are embedded once. The same prompt has the same seed at every step, so that the strip shows what
    training changes and nothing else.
    """

    def __init__(self, pipeline: Any, options: TrainOptions, folder: RunFolder, device: torch.device) -> None:
        self.pipeline = pipeline
        self.folder = folder
        self.device = device
        self.settings = Settings(steps=options.sample_steps)
        prompts = options.sample_prompts or (options.prompt,)
        words = options.concept.words
        self.prompts = [expand(prompt.replace("{}", words), [options.concept]) for prompt in prompts]
        self.seeds = [derived_seed(options.seed, "preview", i) for i in range(len(self.prompts))]
        embedded = embed(pipeline, [*self.prompts, self.settings.negative_prompt])
        self.embeddings, self.negative = embedded[:-1], embedded[-1:]

    def draw(self, step: int) -> None:
        """Draw every prompt and bring the strip up to date."""
        unet = self.pipeline.unet
        unet.eval()
        self.pipeline.vae.to(self.device)
        try:
            pictures = generate(self.pipeline, self.embeddings, self.negative, self.seeds, self.settings)
        finally:
            self.pipeline.vae.to("cpu")
            unet.train()
        for i, picture in enumerate(pictures):
            save_png(self.folder.strip_folder / f"step-{step:06d}-{i}.png", picture)
        self._join()

    def _join(self) -> None:
        rows: list[list[Image.Image]] = []
        steps: list[str] = []
        for i in range(len(self.prompts)):
            paths = sorted(self.folder.strip_folder.glob(f"step-*-{i}.png"))
            steps = [f"step {int(path.name.split('-')[1])}" for path in paths]
            rows.append([Image.open(path) for path in paths])
        save_png(self.folder.strip, contact_sheet(rows, self.prompts, steps, least=128))


def save_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG, atomically."""
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG"))
