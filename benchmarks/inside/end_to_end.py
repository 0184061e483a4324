"""A LoRA learned as diffusers' example `train_dreambooth_lora.py` learns it with its documented settings.

The script is part of diffusers' repository only, neither of its wheel nor of its archive on PyPI, so what it does is
done here anew, call by call in the same order, in our own words: LoRA of rank 4 on the UNet's attention, held in
float32; everything else frozen, in the type that is computed in. Every step reads its image from the disk, encodes it
by the VAE and the prompt by the text encoder, and asks the device for the loss. Without the script's checkpoints,
trackers, validation images and the pipeline that it loads at its end, all of which would cost it more time.
"""

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from diffusers.optimization import get_scheduler
from diffusers.training_utils import cast_training_params
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from transformers import CLIPTextModel, CLIPTokenizer

from . import clock

PROMPT = "a photo of sks castle"
RANK = 4
LAYERS = ["to_k", "to_q", "to_v", "to_out.0", "add_k_proj", "add_v_proj"]
RATE = 1e-4
LONGEST = 1.0  # of the gradient; longer ones are cut
TYPES = {"fp32": ("no", torch.float32), "fp16": ("fp16", torch.float16), "bf16": ("bf16", torch.bfloat16)}
"""By precision: accelerate's word for it, and the type of what is frozen."""


class Images(Dataset[dict[str, Tensor]]):
    """The images of a folder, each read, cut out and tokenised with its prompt whenever it is asked for."""

    def __init__(self, folder: Path, side: int, tokenizer: Any) -> None:
        self.paths = list(folder.iterdir())
        self.tokenizer = tokenizer
        self.cut = transforms.Compose(
            [
                transforms.Resize(side, interpolation=transforms.InterpolationMode.BILINEAR),
                transforms.RandomCrop(side),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.5]),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image = ImageOps.exif_transpose(Image.open(self.paths[index]))
        longest = self.tokenizer.model_max_length
        tokens = self.tokenizer(
            PROMPT, truncation=True, padding="max_length", max_length=longest, return_tensors="pt"
        ).input_ids
        return {"pixels": self.cut(image.convert("RGB")), "tokens": tokens[0]}


class Learning:
    """A model that learns a LoRA.

    Args:
        model: a diffusers folder; images: a folder that holds nothing else; side: of the cut-out images in pixels.
        precision: "fp32", "fp16" or "bf16".
    """

    def __init__(self, model: Path, images: Path, side: int, device: torch.device, precision: str) -> None:
        word, kind = TYPES[precision]
        self.accelerator = Accelerator(gradient_accumulation_steps=1, mixed_precision=word, cpu=device.type == "cpu")
        set_seed(0)
        tokenizer = CLIPTokenizer.from_pretrained(model, subfolder="tokenizer")
        self.noise: Any = DDPMScheduler.from_pretrained(model, subfolder="scheduler")
        self.text_encoder: Any = CLIPTextModel.from_pretrained(model, subfolder="text_encoder")
        self.vae: Any = AutoencoderKL.from_pretrained(model, subfolder="vae")
        unet: Any = UNet2DConditionModel.from_pretrained(model, subfolder="unet")
        for part in (self.vae, self.text_encoder, unet):
            part.requires_grad_(False)
        for part in (unet, self.vae, self.text_encoder):
            part.to(self.accelerator.device, dtype=kind)
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=LAYERS))
        if kind is not torch.float32:
            cast_training_params([unet], dtype=torch.float32)
        self.kind = kind
        self.parameters = [parameter for parameter in unet.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(self.parameters, lr=RATE, betas=(0.9, 0.999), weight_decay=1e-2, eps=1e-8)
        loader = DataLoader(Images(images, side, tokenizer), batch_size=1, shuffle=True, num_workers=0)
        rate = get_scheduler("constant", optimizer, num_warmup_steps=0)
        self.unet, self.optimizer, self.loader, self.rate = self.accelerator.prepare(unet, optimizer, loader, rate)

    def take(self, count: int) -> list[float]:
        """Take so many steps; their losses."""
        self.unet.train()
        batches: Iterator[dict[str, Tensor]] = chain.from_iterable(repeat(self.loader))
        return [self._step(batch) for _, batch in zip(range(count), batches, strict=False)]

    def _step(self, batch: dict[str, Tensor]) -> float:
        with self.accelerator.accumulate(self.unet):
            latents = self.vae.encode(batch["pixels"].to(dtype=self.kind)).latent_dist.sample()
            latents = latents * self.vae.config.scaling_factor
            noise = torch.randn_like(latents)
            top = self.noise.config.num_train_timesteps
            timesteps = torch.randint(0, top, (len(latents),), device=latents.device).long()
            noisy = self.noise.add_noise(latents, noise, timesteps)
            states = self.text_encoder(batch["tokens"], attention_mask=None, return_dict=False)[0]
            prediction = self.unet(noisy, timesteps, states, return_dict=False)[0]
            loss = functional.mse_loss(prediction.float(), noise.float(), reduction="mean")
            self.accelerator.backward(loss)
            if self.accelerator.sync_gradients:
                self.accelerator.clip_grad_norm_(self.parameters, LONGEST)
            self.optimizer.step()
            self.rate.step()
            self.optimizer.zero_grad()
        return loss.detach().item()

    def save(self, folder: Path) -> Path:
        """Write the LoRA as diffusers loads it; the file."""
        unet = self.accelerator.unwrap_model(self.unet).to(torch.float32)
        layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
        StableDiffusionLoraLoaderMixin.save_lora_weights(folder, unet_lora_layers=layers)
        self.accelerator.end_training()
        return folder / "pytorch_lora_weights.safetensors"


def main(arguments: list[str] | None = None) -> int:
    """Learn, save, and print what it took."""
    options = clock.parser("benchmarks.inside.end_to_end", __doc__)
    options.add_argument("--images", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True, help="folder for the LoRA")
    options.add_argument("--steps", type=int, required=True)
    options.add_argument("--side", type=int, required=True)
    options.add_argument("--precision", choices=sorted(TYPES), required=True)
    given = options.parse_args(arguments)

    def learned(steps: int) -> tuple[float, Learning, Path]:
        learning = Learning(Path(given.model), given.images, given.side, given.device, given.precision)
        seconds, _ = clock.timed(lambda: learning.take(steps), given.device)
        return seconds, learning, learning.save(given.output)

    if given.profile is not None:
        clock.trace(lambda: learned(given.steps), given.device, given.profile / "end_to_end_diffusers.json")
        return 0
    seconds, learning, saved = learned(given.steps)
    return clock.give(
        {
            "device": str(given.device),
            "threads": torch.get_num_threads(),
            "seconds": seconds,
            "trainable_parameters": sum(parameter.numel() for parameter in learning.parameters),
            "bytes": saved.stat().st_size,
        }
    )


if __name__ == "__main__":
    raise SystemExit(main())
