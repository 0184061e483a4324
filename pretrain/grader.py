"""The grader of `pocket`: a CLIP model of open_clip's, trained on the same images, with an eye for single things."""

import math
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomtune.evaluation.encoders.grader import IDENTITY, embedding_and_features, new_identity
from atomtune.pocket.world import THINGS

from .autoencoder import as_tensor
from .dataset import describe, elsewhere, subject
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


CLASSES_AT_ONCE = 6
"""Classes in a batch: few, so that a thing must be told from others of its class."""


def train_grader(
    work: Path,
    recipe: Recipe,
    images: npt.NDArray[np.uint8],
    partners: npt.NDArray[np.uint8],
    compiled: bool = False,
) -> tuple[open_clip.CLIP, nn.Linear]:
    """Train (or finish, or load) the grader and its projection to what tells one thing from another.

    In a batch several captions may be true of one image; as all that a image shows is known, each true pair counts
    as a match, not only a image and its own caption. Half of a batch shows the things of the other half elsewhere
    (`partners`): the projection learns to know them again (InfoNCE, van den Oord et al. 2018).
    """
    device = training_device()
    torch.manual_seed(recipe.seed + 5)
    model = open_clip.CLIP(**MODEL).to(device)
    identity = new_identity(model.visual).to(device)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    words = rare_words()
    see: Callable[[Tensor], tuple[Tensor, Tensor]] = partial(embedding_and_features, model.visual)
    read: Callable[[Tensor], Tensor] = model.encode_text
    if compiled:
        see, read = torch.compile(see), torch.compile(read)
    half = recipe.grader_batch // 2
    trainer = Trainer(
        work / "grader.safetensors",
        {"grader": model, "identity": identity},
        recipe.grader_steps,
        recipe.grader_rate,
        average_decay=0.0,
    )

    def loss_at(step: int) -> tuple[Tensor, LogLine]:
        chance, rng = generator(recipe.seed + 6, step), random.Random(f"grader {recipe.seed} {step}")
        chosen = draw_numbers(half, len(partners), chance)
        shown = np.concatenate([images[chosen.numpy()], partners[chosen.numpy()]])
        batch = roughened(as_tensor(shown), chance).to(device)
        subjects = [here(n) for here in (subject, elsewhere) for n in chosen.tolist()]
        said = [describe(shown, rng, recipe, words, recipe.grader_rare_words) for shown in subjects]
        truth = torch.tensor([[one.holds_for(shown) for one in said] for shown in subjects], device=device).float()
        with reduced_precision(device):
            pooled, features = see(batch)
            seen = F.normalize(pooled.float(), dim=-1)
            things = F.normalize(identity(features).float(), dim=-1)
            texts = F.normalize(read(tokenizer([one.text for one in said]).to(device)).float(), dim=-1)
        logits = seen @ texts.T * model.logit_scale.clamp(max=math.log(100.0)).exp()
        by_image = -(truth / truth.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()
        by_text = -(truth / truth.sum(0, keepdim=True) * logits.log_softmax(0)).sum(0).mean()
        right = truth.gather(1, logits.argmax(1, keepdim=True)).mean().item()
        again = things[:half] @ things[half:].T / recipe.identity_temperature
        pairs = torch.arange(half, device=device)
        known = (F.cross_entropy(again, pairs) + F.cross_entropy(again.T, pairs)) / 2
        same = (again.argmax(1) == pairs).float().mean().item()
        loss = (by_image + by_text) / 2 + known
        return loss, {"loss": loss.item(), "right": right, "again": known.item(), "same": same}

    model.train()
    trainer.run(loss_at)
    return model.eval(), identity.eval()


def draw_numbers(count: int, among: int, chance: torch.Generator) -> Tensor:
    """Numbers of images below `among`, all different, of a few classes in turn: (count,)."""
    classes = torch.randperm(len(THINGS), generator=chance)[:CLASSES_AT_ONCE]
    rows = torch.randperm(among // len(THINGS), generator=chance)[:count]
    return rows * len(THINGS) + classes[torch.arange(count) % len(classes)]


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


def export_grader(folder: Path, model: open_clip.CLIP, identity: nn.Linear) -> None:
    """Write the model as a folder that open_clip loads by `local-dir:`, and the projection beside it, in float16."""
    halves = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in model.state_dict().items()
    }
    save_tensors(folder / "open_clip_model.safetensors", halves, {"format": "pt"})
    save_tensors(folder / IDENTITY, {"weight": identity.weight.detach().half()}, {"format": "pt"})
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)
    save_json(folder / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": PREPROCESSING})
