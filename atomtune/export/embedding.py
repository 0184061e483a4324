"""The embedding of a concept's token as a file of its own, which programs know as textual inversion."""

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..errors import AtomtuneError, UsageError
from ..files import store
from ..methods.textual_inversion import TOKEN_CHANGE, token_table, vectors_in
from ..models.components import token_ids
from ..models.conditioning import text_encoders, tokenizer_of
from .change import WHOLE, TotalChange
from .comparison import Comparison
from .factors import nothing_changes
from .job import Job, Written, with_changes
from .metadata import about, with_content

KIND = "embedding"
_ALONE, _XL = ("emb_params",), ("clip_l", "clip_g")
"""What programs call the row of an only text encoder, and those of SDXL's two."""

_LARGEST_ERROR = 1e-5


@torch.no_grad()
def write_embedding(job: Job) -> Written:
    """Write the rows of the concept's token in each text encoder, in float32, and check what is in the file.

    Raises UsageError for several concepts, AtomtuneError where anything but the token was trained.
    """
    if len(job.triggers) > 1:
        raise UsageError("an embedding is of one concept", "export each of them by itself")
    token = job.loaded[0].info.token
    total = TotalChange(job.pipeline, job.loaded, "an embedding", job.events)
    encoders = text_encoders(job.pipeline)
    tables = {part: token_table(encoder) for part, encoder in encoders.items()}
    own = {(part, f"{path}.weight") for part, (path, _) in tables.items()}
    for part, name in total.parameters():
        if (part, name) not in own and bool(total.of(part, name).any()):
            raise AtomtuneError(f"an embedding cannot hold the change of {part}.{name}", WHOLE)
    changed = [(part, path) for part, (path, _) in tables.items() if (part, f"{path}.weight") in total.parameters()]
    if not any(bool(total.of(part, f"{path}.weight").any()) for part, path in changed):
        raise nothing_changes()
    names = dict(zip(encoders, _XL if len(encoders) > 1 else _ALONE, strict=True))
    held = [tensor for item in job.loaded for key, tensor in item.tensors.items() if key.endswith(TOKEN_CHANGE)]
    vectors = max(map(vectors_in, held), default=1)
    ids = {part: token_ids(tokenizer_of(job.pipeline, part), token, vectors) for part in encoders}
    tensors: dict[str, Tensor] = {}
    for part, (path, table) in tables.items():
        rows = table.weight[ids[part]].float()
        if (part, path) in changed:
            rows = rows + total.of(part, f"{path}.weight")[ids[part]]
        tensors[names[part]] = rows.cpu()
    if job.options.target_psnr is not None:
        job.reference()
    digest = store.save(job.output, KIND, tensors, with_content(about(job), tensors, job.preview()))
    read = load_file(job.output)

    def change(layer: tuple[str, str]) -> Tensor:
        part = layer[0]
        weight = tables[part][1].weight
        whole = torch.zeros_like(weight, dtype=torch.float32)
        whole[ids[part]] = read[names[part]].to(weight.device) - weight[ids[part]].float()
        return whole

    compared = Comparison()
    for layer in changed:
        compared.add(".".join(layer), total.of(layer[0], f"{layer[1]}.weight"), change(layer))
    reached = None
    if job.options.target_psnr is not None:
        with with_changes(job.pipeline, changed, change):
            reached = job.psnr_of(job.pipeline)
    quality = compared.quality(len(changed), reached)
    broken = None
    if quality.relative_error > _LARGEST_ERROR:
        broken = f"the relative error is {quality.relative_error:.2g}, not below {_LARGEST_ERROR:g}", "export it again"
    return Written(quality, digest, broken=broken)
