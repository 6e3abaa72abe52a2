"""The three checkpoints."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import (
    load_attached,
    load_collapsed,
    load_light,
    reparameterize,
    save_attached,
    save_collapsed,
    save_light,
    scales,
)
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from tests.merging.reparameterization.tiny_vit import TinyViT

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def vit(seed: int) -> TinyViT:
    torch.manual_seed(seed)
    return TinyViT(width=8, depth=2).eval()


def attached(seeds: tuple[int, ...] = (1, 2)):
    target, plans = vit(0), []
    for seed in seeds:
        plans.append(reparameterize(target, vit(seed), layers=["mlp.*"]))
    links = [module for module in target.modules() if isinstance(module, CrossModalWeight)]
    for index, link in enumerate(links):
        link.scale.data.fill_(0.1 * (index + 1))
    return target, plans


def same_state(before: dict, model: torch.nn.Module) -> bool:
    after = model.state_dict()
    return list(before) == list(after) and all(torch.equal(before[name], after[name]) for name in before)


@torch.no_grad()
def test_an_attached_checkpoint_restores_weights_auxiliaries_and_scales(tmp_path: Path) -> None:
    model, _ = attached()
    save_attached(model, tmp_path / "all.safetensors")
    other, _ = attached((3, 4))
    assert not torch.equal(other(IMAGES), model(IMAGES))
    load_attached(tmp_path / "all.safetensors", other)
    assert torch.equal(other(IMAGES), model(IMAGES))
    assert same_state(model.state_dict(), other)


def test_an_attached_checkpoint_of_other_rows_is_refused(tmp_path: Path) -> None:
    model, other = vit(0), vit(0)
    reparameterize(model, vit(1), layers={"blocks.{i}.attn.qkv[q]": "blocks.{i}.attn.qkv[q]"})
    reparameterize(other, vit(1), layers={"blocks.{i}.attn.qkv[k]": "blocks.{i}.attn.qkv[k]"})
    save_attached(model, tmp_path / "all.safetensors")
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(UnsupportedModuleError, match=r"blocks\.0\.attn\.qkv\.weight has its auxiliaries in other rows"):
        load_attached(tmp_path / "all.safetensors", other)
    assert same_state(before, other)


def test_an_attached_checkpoint_of_two_scales_is_refused_where_weight_and_bias_share_one(tmp_path: Path) -> None:
    model, other = vit(0), vit(0)
    reparameterize(model, vit(1), layers={"head": "head", "head.bias": "head.bias"})
    reparameterize(other, vit(1), layers=["head"], biases=True)
    assert list(model.state_dict()) == list(other.state_dict())
    save_attached(model, tmp_path / "all.safetensors")
    with pytest.raises(UnsupportedModuleError, match=r"head\.bias has its auxiliaries in other rows, or other weights"):
        load_attached(tmp_path / "all.safetensors", other)


@torch.no_grad()
def test_a_light_checkpoint_rebuilds_the_model_from_the_same_parents(tmp_path: Path) -> None:
    model, plans = attached()
    model.head.weight.data.add_(1.0)
    path = tmp_path / "light.safetensors"
    save_light(model, path, plans=plans, auxiliaries=[vit(1), vit(2)], besides=["head."])
    rebuilt = vit(0)
    assert load_light(path, rebuilt, [vit(1), vit(2)]) == tuple(plans)
    assert torch.equal(rebuilt(IMAGES), model(IMAGES))
    assert scales(rebuilt) == scales(model)


def test_a_light_checkpoint_holds_no_weight_but_those_asked_for(tmp_path: Path) -> None:
    model, plans = attached()
    path = tmp_path / "light.safetensors"
    save_light(model, path, plans=plans, auxiliaries=[vit(1), vit(2)], besides=["head."])
    stored = load_file(path)
    assert {name for name in stored if name.startswith("besides/")} == {"besides/head.weight", "besides/head.bias"}
    assert all(tensor.shape == (2,) for name, tensor in stored.items() if name.startswith("scales/"))
    assert sum(tensor.numel() for tensor in stored.values()) < 0.02 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("target", "auxiliaries", "message"),
    [
        (0, (1, 3), "auxiliary 1.*not those with which"),
        (0, (2, 1), "auxiliary 0.*not those with which"),
        (5, (1, 2), "the target.*not those with which"),
        (0, (1,), "1 auxiliaries"),
    ],
)
def test_a_light_checkpoint_refuses_other_parents_and_changes_nothing(
    tmp_path: Path, target: int, auxiliaries: tuple[int, ...], message: str
) -> None:
    model, plans = attached()
    path = tmp_path / "light.safetensors"
    save_light(model, path, plans=plans, auxiliaries=[vit(1), vit(2)])
    fresh = vit(target)
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(UnsupportedModuleError, match=message):
        load_light(path, fresh, [vit(seed) for seed in auxiliaries])
    assert same_state(before, fresh)


def test_a_light_checkpoint_wants_all_the_plans_that_are_attached(tmp_path: Path) -> None:
    model, plans = attached()
    with pytest.raises(UnsupportedModuleError, match="not what is attached"):
        save_light(model, tmp_path / "light.safetensors", plans=plans, auxiliaries=[vit(1)])
    with pytest.raises(UnsupportedModuleError, match="not what is attached"):
        save_light(model, tmp_path / "light.safetensors", plans=plans[:1], auxiliaries=[vit(1)])
    assert list(tmp_path.iterdir()) == []


@torch.no_grad()
def test_a_collapsed_checkpoint_loads_strictly_into_the_plain_class_in_its_order(tmp_path: Path) -> None:
    model, _ = attached()
    path = tmp_path / "plain.safetensors"
    folded = save_collapsed(model, path)
    assert [entry.scales for entry in folded] == list(scales(model).values())
    plain = vit(9)
    load_collapsed(path, plain)
    assert torch.equal(plain(IMAGES), model(IMAGES))
    assert set(load_file(path)) == set(TinyViT(width=8, depth=2).state_dict())


def test_a_checkpoint_of_another_form_of_another_model_or_cut_off_is_refused_and_changes_nothing(
    tmp_path: Path,
) -> None:
    model, _ = attached()
    path = tmp_path / "plain.safetensors"
    save_collapsed(model, path)
    deeper = TinyViT(width=8, depth=3)
    before = copy.deepcopy(deeper.state_dict())
    with pytest.raises(UnsupportedModuleError, match=r"lacks blocks\.2"):
        load_collapsed(path, deeper)
    with pytest.raises(UnsupportedModuleError, match="of the form 'collapsed'"):
        load_attached(path, model)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UnsupportedModuleError, match="cannot be read"):
        load_collapsed(path, deeper)
    with pytest.raises(UnsupportedModuleError, match="No such file"):
        load_collapsed(tmp_path / "none", deeper)
    assert same_state(before, deeper)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    model, _ = attached()
    path = tmp_path / "plain.safetensors"
    save_collapsed(model, path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_attached(model, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["plain.safetensors"]


def test_nothing_attached_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModuleError, match="no auxiliary weights are attached"):
        save_attached(vit(0), tmp_path / "x")


@torch.no_grad()
def test_a_light_checkpoint_keeps_scales_that_are_shared_by_projections_and_biases(tmp_path: Path) -> None:
    target, auxiliary = vit(0), vit(1)
    plan = reparameterize(target, auxiliary, biases=True, scale_per="attention")
    for index, link in enumerate(module for module in target.modules() if isinstance(module, CrossModalWeight)):
        link.scale.data.fill_(0.01 * (index + 1))
    path = tmp_path / "light.safetensors"
    save_light(target, path, plans=[plan], auxiliaries=[auxiliary])
    rebuilt = vit(0)
    load_light(path, rebuilt, [vit(1)])
    assert torch.equal(rebuilt(IMAGES), target(IMAGES))
    assert len(list(rebuilt.parameters())) == len(list(vit(0).parameters())) + len({id(p) for p in scales_of(rebuilt)})


def scales_of(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [module.scale for module in model.modules() if isinstance(module, CrossModalWeight)]
