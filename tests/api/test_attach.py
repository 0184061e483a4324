"""What `attach` takes, refuses and says, and what an adapter's file holds."""

import gc
import subprocess
import sys
import warnings
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

import atomtune
from atomtune.files.atoms_file import load_atoms
from atomtune.methods.specs import PRESETS, AtomsSpec, RankSpec
from small_models import noise, small_resnet, text_encoder, unet


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.Flatten(),
            nn.Linear(8 * 16, 16),
            nn.Linear(16, 4),
        ]
        return nn.Sequential(*layers).eval()


X = noise(2, 3, 8, 8)


def test_importing_atomtune_imports_no_torch() -> None:
    names = "[name for name in ('torch', 'numpy', 'diffusers', 'PIL') if name in sys.modules]"
    code = f"import sys, atomtune; dir(atomtune); print({names})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_every_public_name_is_there_and_documented() -> None:
    for name in atomtune.__all__:
        value = getattr(atomtune, name)
        assert name == "__version__" or value.__doc__, name
        assert name in dir(atomtune)
    with pytest.raises(AttributeError, match="has no attribute 'atach'"):
        atomtune.atach  # noqa: B018


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("c1", {}, ("atoms", "c1", PRESETS["c1"])),
        ("c2", {"tile": 4}, ("atoms", "custom", replace(PRESETS["c2"], tile=4))),
        (AtomsSpec(atoms=3), {}, ("atoms", "custom", AtomsSpec(atoms=3))),
        ("atoms", {}, ("atoms", "c2", PRESETS["c2"])),
        ("lora", {"rank": 4, "layers": "0"}, ("lora", "lora", RankSpec(layers="0", rank=4))),
    ],
)
def test_a_method_is_a_preset_a_name_with_options_or_a_spec(method: Any, options: Any, expected: Any) -> None:
    adapter = atomtune.attach(net(), method, **options)
    assert (adapter.method.name, adapter.preset, adapter.spec) == expected


@pytest.mark.parametrize(
    ("method", "options", "message", "hint"),
    [
        ("c5", {}, "there is no preset or method 'c5'", "presets: c1, c2"),
        ("lora", {"ranks": 4}, "lora takes no option ranks", "it takes layers, rank, alpha"),
        ("lora", {"rank": 0}, "rank must be a whole number", None),
        (RankSpec(), {}, "does not say which method", "'lora', rank=4"),
        ("textual-inversion", {}, "no layers of a model", "atomtune.train"),
        ("c2", {"layers": "elsewhere"}, "no layer of the model matches 'elsewhere'", None),
        ("c2", {"train": ["head"]}, "no part of the model with parameters matches 'head'", "parts are 0, 2, 4, 5"),
    ],
)
def test_a_wrong_call_says_what_is_wrong_and_what_to_do(method: Any, options: Any, message: str, hint: str) -> None:
    model = net()
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with pytest.raises(atomtune.UsageError) as caught:
        atomtune.attach(model, method, **options)
    assert message in str(caught.value)
    assert hint is None or hint in str(caught.value.hint)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_one_adapter_at_a_time() -> None:
    model = net()
    adapter = atomtune.attach(model, "c1")
    with pytest.raises(atomtune.UsageError, match=r"has an adapter: Adapter\(atoms c1 on Sequential"):
        atomtune.attach(model, "lora")
    with pytest.raises(atomtune.UsageError, match="has an adapter"):
        atomtune.attach(nn.Sequential(model), "lora")
    adapter.detach()
    with pytest.raises(atomtune.UsageError, match="was detached and cannot be merged"):
        adapter.merge()
    with atomtune.attach(model, "lora") as second:
        assert second.scale == 1.0
    atomtune.attach(model, "c2")


def test_an_adapter_does_not_keep_its_model_in_memory() -> None:
    model = net()
    held = weakref.ref(model)
    atomtune.attach(model, "c1").merge()
    atomtune.attach(model, "c1")
    del model
    gc.collect()
    assert held() is None


def test_a_with_statement_gives_the_model_back_unless_it_was_merged() -> None:
    model = net()
    modules = dict(model.named_modules())
    with atomtune.attach(model, "c1"):
        assert dict(model.named_modules()) != modules
    assert dict(model.named_modules()) == modules
    with pytest.raises(ZeroDivisionError), atomtune.attach(model, "c1"):
        1 / 0  # noqa: B018
    assert dict(model.named_modules()) == modules
    with atomtune.attach(model, "c1") as adapter:
        adapter.merge()
    assert "merged" in repr(adapter)


def test_the_description_names_method_layers_and_numbers() -> None:
    adapter = atomtune.attach(net(), "c1", train=["5"])
    assert repr(adapter) == "Adapter(atoms c1 on Sequential: 3 layers, 364 parameters, 5 in full, scale 1)"
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 364 + 68


@pytest.mark.parametrize("method", ["c2", "lora", "oft", "loldu", "bitfit"])
def test_the_layers_that_a_method_puts_in_are_none_that_are_left_out(method: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", atomtune.SkippedLayersWarning)
        atomtune.attach(net(), method, **({"layers": "all"} if method == "loldu" else {}))


def test_layers_that_cannot_be_adapted_are_named_in_one_warning() -> None:
    from torchvision.models import VisionTransformer

    model = VisionTransformer(
        image_size=16, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4
    )
    with pytest.warns(atomtune.SkippedLayersWarning) as caught:
        adapter = atomtune.attach(model, "c2")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    text = str(caught[0].message)
    for number in range(3):
        assert f"encoder.layers.encoder_layer_{number}.self_attention.out_proj" in text
    assert len(adapter.layers) == 1 + 3 * 2 + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        atomtune.attach(small_resnet().make(), "c2")


def test_attaching_freezes_the_model_so_that_no_adapted_weight_is_kept_for_the_way_back() -> None:
    def kept(model: nn.Module) -> set[tuple[int, ...]]:
        """The shapes of what autograd keeps that itself has a gradient."""
        shapes: set[tuple[int, ...]] = set()

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.requires_grad:
                shapes.add(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model(noise(2, 64, 8, 8)).sum()
        return shapes

    model = nn.Sequential(nn.Conv2d(64, 128, 3), nn.Flatten(), nn.Linear(128 * 36, 16))
    weights = {tuple(model[0].weight.shape), tuple(model[2].weight.shape)[::-1]}
    assert all(parameter.requires_grad for parameter in model.parameters())
    atomtune.attach(model, "c2")
    assert not weights & kept(model)
    model.requires_grad_(True)  # as it was found: each adapted weight is made, and kept with its gradient
    assert weights <= kept(model)


def test_a_part_trained_in_full_has_its_place_in_adapter_and_file(tmp_path: Path) -> None:
    model, target = net(), torch.tensor([0, 3])
    base = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = atomtune.attach(model, "c2", train=["5"])
    names = dict(adapter.named_parameters())
    assert {"5.weight", "5.bias"} <= set(names)
    assert not any(layer.name == "5" for layer in adapter.layers)
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(X), target).backward()
        optimizer.step()
    head = model[5].weight.detach().clone()
    assert not torch.equal(head, base["5.weight"])
    path = adapter.save(tmp_path / "net.safetensors")

    fresh = net()
    nn.init.normal_(fresh[5].weight)  # a new head, as a classifier has one
    own = fresh[5].weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the head is no part of the base
        loaded = atomtune.load(fresh, path)
    assert torch.equal(fresh[5].weight, head)
    loaded.scale = 0.0
    assert torch.equal(fresh[5].weight, head)
    assert torch.equal(fresh[0].weight, base["0.weight"])
    loaded.detach()
    assert torch.equal(fresh[5].weight, own)

    wider = net()
    wider[5] = nn.Linear(16, 7)
    with pytest.raises(atomtune.AtomtuneError, match=r"5\.bias has shape \(4,\) in the file, and \(7,\)"):
        atomtune.load(wider, path)

    expected = model(X).detach()
    adapter.merge()
    torch.testing.assert_close(model(X), expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(model[5].weight, head)


def test_detaching_restores_a_part_trained_in_full_with_its_statistics() -> None:
    model = small_resnet().make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapter = atomtune.attach(model, "c1", train=["layer4", "fc"])
    model.layer4.train()
    model(noise(4, 3, 32, 32)).sum().backward()
    torch.optim.SGD(adapter.parameters(), lr=1.0).step()
    changed = {name for name, value in model.state_dict().items() if name in before and not value.equal(before[name])}
    assert any("running_mean" in name for name in changed)
    adapter.detach()
    after = model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_running_statistics_that_moved_are_reported_when_a_file_is_written(tmp_path: Path) -> None:
    model = small_resnet().make()
    adapter = atomtune.attach(model, "c1")
    model.train()
    model(noise(4, 3, 32, 32))
    with pytest.warns(atomtune.AtomtuneWarning, match="keep its normalisation layers in eval mode"):
        adapter.save(tmp_path / "net.safetensors")


def test_a_merge_that_cannot_be_leaves_the_adapter_attached() -> None:
    model = net()
    expected = model(X)
    adapter = atomtune.attach(model, "lora", layers="2")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(1.0)
    trained = model(X)
    adapter.scale = 1e38
    with pytest.raises(atomtune.AtomtuneError, match=r"2\.weight is not finite"):
        adapter.merge()
    adapter.scale = 1.0
    assert torch.equal(model(X), trained)
    adapter.detach()
    assert torch.equal(model(X), expected)


class Tied(nn.Module):
    """A language model's embedding and head share their weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(8, 4), nn.Linear(4, 8, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.table(ids))


def test_a_weight_that_two_modules_share_is_not_merged() -> None:
    adapter = atomtune.attach(Tied(), "lora")
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(1.0)
    with pytest.raises(atomtune.AtomtuneError, match=r"head\.weight is also table\.weight") as caught:
        adapter.merge()
    assert caught.value.hint == "leave that layer out: layers='all,!head'"


def test_a_file_says_what_it_is_and_nothing_of_the_machine(tmp_path: Path, tiny_model: Path) -> None:
    kind = unet(tiny_model)
    adapter = atomtune.attach(kind.make(), "lora", rank=2)
    path = adapter.save(tmp_path / "blue-mug.safetensors", steps=3, prompts=["a photo of a rcn mug"], class_noun="mug")
    tensors, info, _ = load_atoms(path)
    assert (info.method, info.concept, info.class_noun, info.token, info.steps) == ("lora", "blue-mug", "mug", "rcn", 3)
    assert info.base == "UNet2DConditionModel"
    assert info.parameters == sum(parameter.numel() for parameter in adapter.parameters())
    assert all(name.startswith("unet.") for name in tensors)
    assert str(tmp_path) not in path.read_bytes().decode("latin-1")
    assert str(tiny_model) not in path.read_bytes().decode("latin-1")


def test_saving_replaces_an_atoms_file_and_no_other(tmp_path: Path) -> None:
    adapter = atomtune.attach(nn.Sequential(nn.Linear(8, 8)), "c1")
    assert adapter.save(tmp_path / "own.safetensors") == adapter.save(tmp_path / "own.safetensors")
    (tmp_path / "notes.txt").write_text("the user's")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name in ("notes.txt", "other.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(atomtune.UsageError, match="atomtune did not write it"):
            adapter.save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_a_text_encoders_file_has_the_same_names_for_all_versions_of_transformers(tmp_path: Path) -> None:
    adapter = atomtune.attach(text_encoder().make(), "c1")
    tensors, _, _ = load_atoms(adapter.save(tmp_path / "encoder.safetensors"))
    assert all(name.startswith("encoder.layers.") for name in tensors)


def test_states_of_other_adapters_are_refused() -> None:
    adapter, other = atomtune.attach(net(), "lora", rank=2), atomtune.attach(net(), "lora", rank=3)
    with pytest.raises(atomtune.AtomtuneError, match=r"has shape \(3, 27\) in the state, not \(2, 27\)|has shape"):
        adapter.load_state_dict(other.state_dict())
    with pytest.raises(atomtune.AtomtuneError, match="names that differ: "):
        adapter.load_state_dict({})


def test_a_decomposition_gives_the_weight_back_and_can_be_used_again() -> None:
    model = net()
    parts = atomtune.decompose(model, "c2")
    assert list(parts) == ["0", "2", "4", "5"]
    weight = model[2].weight.detach()
    torch.testing.assert_close(parts["2"].reconstruct(weight), weight, rtol=0, atol=2e-3)
    with atomtune.attach(model, "c2", decomposition=parts) as adapter:
        given = {name: value.clone() for name, value in adapter.state_dict().items()}
    with atomtune.attach(model, "c2") as adapter:
        assert adapter.state_dict().keys() == given.keys()
    with pytest.raises(atomtune.UsageError, match="lora decomposes nothing"):
        atomtune.decompose(model, "lora")
