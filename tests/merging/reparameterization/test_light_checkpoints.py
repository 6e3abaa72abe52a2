"""What a light checkpoint refuses to write, or to rebuild a model from."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import Plan, load_light, reparameterize, save_light
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from tests.merging.reparameterization.tiny_vit import TinyViT

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Tampering = Callable[[dict[str, Tensor], dict[str, Any]], None]


def vit(seed: int) -> TinyViT:
    torch.manual_seed(seed)
    return TinyViT(width=8, depth=2).eval()


def links(model: nn.Module) -> list[CrossModalWeight]:
    return [module for module in model.modules() if isinstance(module, CrossModalWeight)]


def attached(auxiliary: nn.Module, **options: Any) -> tuple[TinyViT, Plan]:
    target = vit(0)
    plan = reparameterize(target, auxiliary, **options)
    for index, link in enumerate(links(target)):
        link.scale.data.fill_(0.1 * (index + 1))
    return target, plan


def separate(seed: int) -> nn.TransformerEncoder:
    """Return blocks whose queries, keys and values are made by three layers."""
    torch.manual_seed(seed)
    names = {"q_proj": 8, "k_proj": 8, "v_proj": 8, "out_proj": 8}
    attention = nn.ModuleDict({name: nn.Linear(8, size) for name, size in names.items()})
    feed_forward = nn.ModuleDict({"fc1": nn.Linear(8, 32), "fc2": nn.Linear(32, 8)})
    block = nn.ModuleDict({"self_attn": attention, "mlp": feed_forward})
    return nn.ModuleDict({"layers": nn.ModuleList([block, copy.deepcopy(block)])})


@torch.no_grad()
def test_rows_that_come_from_several_weights_and_share_a_scale_are_rebuilt(tmp_path: Path) -> None:
    model, plan = attached(separate(1))
    assert len(plan.pairs) == 12
    assert len(links(model)) == 8
    save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[separate(1)])
    rebuilt = vit(0)
    load_light(tmp_path / "light", rebuilt, [separate(1)])
    assert torch.equal(rebuilt(IMAGES), model(IMAGES))
    assert not torch.equal(rebuilt(IMAGES), vit(0)(IMAGES))


def test_rebuilt_auxiliaries_have_the_names_that_are_given_and_those_behind_them_none(tmp_path: Path) -> None:
    model, first = attached(vit(1), layers=["blocks.0.mlp.fc1"])
    second = reparameterize(model, vit(2), layers=["blocks.0.mlp.fc1"])
    save_light(model, tmp_path / "light", plans=[first, second], auxiliaries=[vit(1), vit(2)])
    rebuilt = vit(0)
    load_light(tmp_path / "light", rebuilt, [vit(1), vit(2)], names=["sound"])
    assert [link.name for link in links(rebuilt)] == ["sound", None]


def test_more_names_than_auxiliaries_are_refused_and_the_target_is_as_it_was(tmp_path: Path) -> None:
    model, plan = attached(vit(1))
    save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)])
    rebuilt = vit(0)
    with pytest.raises(UnsupportedModuleError, match="2 names"):
        load_light(tmp_path / "light", rebuilt, [vit(1)], names=["sound", "text"])
    assert links(rebuilt) == []


def test_auxiliary_weights_that_were_trained_are_refused_as_the_file_would_not_hold_them(tmp_path: Path) -> None:
    model, plan = attached(vit(1))
    links(model)[2].auxiliary.data[0, 0] += 1e-3
    with pytest.raises(UnsupportedModuleError, match=r"blocks\.0\.mlp\.fc1: .*not the auxiliary's.*save_attached"):
        save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)])
    assert list(tmp_path.iterdir()) == []


def test_an_auxiliary_that_is_not_the_attached_one_is_refused(tmp_path: Path) -> None:
    model, plan = attached(vit(1))
    with pytest.raises(UnsupportedModuleError, match="not the auxiliary's"):
        save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(2)])


@torch.no_grad()
@pytest.mark.parametrize("part", ["norm.weight", "pos_embed", "blocks.1.norm1.bias", "head.bias"])
def test_a_target_that_differs_outside_of_the_plan_is_refused_by_the_name_of_the_part(
    tmp_path: Path, part: str
) -> None:
    model, plan = attached(vit(1))
    save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)])
    other = vit(0)
    other.get_parameter(part).add_(1e-3)
    with pytest.raises(UnsupportedModuleError, match=rf"the target.*{part}.*not those with which"):
        load_light(tmp_path / "light", other, [vit(1)])
    assert links(other) == []


@torch.no_grad()
def test_a_part_that_is_written_besides_may_differ_in_the_target(tmp_path: Path) -> None:
    model, plan = attached(vit(1))
    model.head.weight.add_(1.0)
    save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)], besides=["head."])
    rebuilt = vit(0)
    load_light(tmp_path / "light", rebuilt, [vit(1)])
    assert torch.equal(rebuilt(IMAGES), model(IMAGES))


@torch.no_grad()
def test_an_auxiliary_that_is_parametrised_itself_counts_with_its_values(tmp_path: Path) -> None:
    auxiliary = nn.Sequential(nn.Linear(3, 3))
    nn.utils.parametrizations.weight_norm(auxiliary[0])
    target, again = nn.Sequential(nn.Linear(3, 3)), nn.Sequential(nn.Linear(3, 3))
    again.load_state_dict(target.state_dict())
    third = copy.deepcopy(again)
    plan = reparameterize(target, auxiliary)
    save_light(target, tmp_path / "light", plans=[plan], auxiliaries=[auxiliary])
    load_light(tmp_path / "light", again, [auxiliary])
    auxiliary[0].parametrizations.weight.original0.mul_(2.0)
    with pytest.raises(UnsupportedModuleError, match=r"auxiliary 0.*not those with which"):
        load_light(tmp_path / "light", third, [auxiliary])


@pytest.mark.parametrize(
    ("besides", "message"),
    [("haed.", "besides 'haed.': nothing of the model's state begins so"), ("blocks.0.mlp", "rebuilt from the target")],
)
def test_parts_besides_that_cannot_be_written_are_refused(tmp_path: Path, besides: str, message: str) -> None:
    model, plan = attached(vit(1))
    with pytest.raises(UnsupportedModuleError, match=message):
        save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)], besides=[besides])
    assert list(tmp_path.iterdir()) == []


def test_a_target_with_attached_weights_is_refused(tmp_path: Path) -> None:
    model, plan = attached(vit(1))
    save_light(model, tmp_path / "light", plans=[plan], auxiliaries=[vit(1)])
    with pytest.raises(UnsupportedModuleError, match="attached to it already"):
        load_light(tmp_path / "light", model, [vit(1)])
    assert len(links(model)) == 8


def without_a_scale(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    name = next(name for name in tensors if name.startswith("scales/"))
    del tensors[name]
    about["order"].remove(name)


def with_a_scale_too_many(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    tensors["scales/head.weight"] = torch.zeros(1, dtype=torch.float64)
    about["order"].append("scales/head.weight")


def with_two_scales_for_one_weight(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    tensors["scales/blocks.0.mlp.fc1.weight"] = torch.zeros(2, dtype=torch.float64)


def with_a_scale_that_is_no_number(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    tensors["scales/blocks.0.mlp.fc1.weight"] = torch.tensor([float("nan")], dtype=torch.float64)


def without_plans(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    del about["plans"]


def without_fingerprints(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    del about["target"], about["auxiliaries"]


def with_a_plan_that_is_none(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    about["plans"][0]["pairs"][0]["target"] = 3


def with_too_few_fingerprints(tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    about["auxiliaries"] = []


@pytest.mark.parametrize(
    "tampering",
    [
        without_a_scale,
        with_a_scale_too_many,
        with_two_scales_for_one_weight,
        with_a_scale_that_is_no_number,
        without_plans,
        without_fingerprints,
        with_a_plan_that_is_none,
        with_too_few_fingerprints,
    ],
)
def test_a_file_that_was_changed_is_refused_and_changes_nothing(tmp_path: Path, tampering: Tampering) -> None:
    model, plan = attached(vit(1))
    path = tmp_path / "light"
    save_light(model, path, plans=[plan], auxiliaries=[vit(1)])
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["onepath"])
    tampering(tensors, about)
    save_file(tensors, path, metadata={"onepath": json.dumps(about)})
    target = vit(0)
    with pytest.raises(UnsupportedModuleError, match=r"light.* save it again"):
        load_light(path, target, [vit(1)])
    assert list(target.state_dict()) == list(vit(0).state_dict())
