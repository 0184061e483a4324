"""The grader of `pocket`: a CLIP model of open_clip's, trained on the same pictures; it names what they show."""

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from .autoencoder import as_tensor
from .dataset import describe, subject
from .recipe import Recipe
from .tokenizer import rare_words
from .training import LogLine, Trainer, generator, reduced_precision, save_json, save_tensors, training_device

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "layers": [2, 2, 2, 1], "width": 24, "head_width": 64},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 48, "heads": 2, "layers": 2},
}
PREPROCESSING: dict[str, Any] = {
    "size": [64, 64],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
}


def train_grader(work: Path, recipe: Recipe, pictures: npt.NDArray[np.uint8], compiled: bool = False) -> open_clip.CLIP:
    """Train (or finish, or load) the grader.

    In a batch several captions may be true of one picture; as all that a picture shows is known, each true pair counts
    as a match, not only a picture and its own caption.
    """
    device = training_device()
    torch.manual_seed(recipe.seed + 5)
    model = open_clip.CLIP(**MODEL).to(device)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    words = rare_words()
    see, read = model.encode_image, model.encode_text
    if compiled:
        see, read = torch.compile(see), torch.compile(read)
    trainer = Trainer(
        work / "grader.safetensors", {"grader": model}, recipe.grader_steps, recipe.grader_rate, decay=0.0
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance, rng = generator(recipe.seed + 6, step), random.Random(f"grader {recipe.seed} {step}")
        chosen = torch.randint(len(pictures), (recipe.grader_batch,), generator=chance)
        batch = roughened(as_tensor(pictures[chosen.numpy()]), chance).to(device)
        subjects = [subject(n) for n in chosen.tolist()]
        said = [describe(shown, rng, recipe, words) for shown in subjects]
        truth = torch.tensor([[one.holds_for(shown) for one in said] for shown in subjects], device=device).float()
        with reduced_precision(device):
            images = F.normalize(see(batch).float(), dim=-1)
            texts = F.normalize(read(tokenizer([one.text for one in said]).to(device)).float(), dim=-1)
        logits = images @ texts.T * model.logit_scale.clamp(max=math.log(100.0)).exp()
        by_image = -(truth / truth.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text = -(truth / truth.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        right = truth.gather(1, logits.argmax(1, keepdim=True)).mean().item()
        loss = (by_image + by_text) / 2
        return loss, {"loss": loss.item(), "right": right}

    model.train()
    trainer.run(loss_at)
    return model.eval()


def roughened(batch: Tensor, chance: torch.Generator) -> Tensor:
    """Shift, soften and speckle a batch a little, so that the grader does not hang on pixels no sampler gets right."""
    across, down = torch.randint(-3, 4, (2,), generator=chance).tolist()
    padded = F.pad(batch, (3, 3, 3, 3), mode="replicate")
    side = batch.shape[-1]
    batch = padded[..., 3 + down : 3 + down + side, 3 + across : 3 + across + side]
    blurred = F.avg_pool2d(F.pad(batch, (1, 1, 1, 1), mode="replicate"), 3, 1)
    amounts = torch.rand((2, len(batch), 1, 1, 1), generator=chance)
    batch = batch + 0.8 * amounts[0] ** 2 * (blurred - batch)
    return batch + 0.15 * amounts[1] ** 2 * torch.randn(batch.shape, generator=chance)


def export_grader(folder: Path, model: open_clip.CLIP) -> None:
    """Write the model as a folder that open_clip loads by `local-dir:`, in float16."""
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in model.state_dict().items()
    }
    save_tensors(folder / "open_clip_model.safetensors", halves, {"format": "pt"})
    (folder / "open_clip_model.safetensors").chmod(0o644)
    save_json(folder / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING})
