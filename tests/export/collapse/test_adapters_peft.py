"""`collapse` folds the LoRA adapters of real PEFT models, and leaves none of PEFT's classes."""

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onepath
from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import CollapseReport, collapse
from onepath.export.collapse.peft_lora import peft_lora
from onepath.export.collapse.peft_modules import peft_kinds

EXACT = 1e-12


class Small(nn.Module):
    """A model with a layer of each kind that LoRA adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 6)
        self.picture = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.series = nn.Conv1d(2, 6, 3)
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 5, bias=False)
        self.head = nn.Linear(5, 2)

    def forward(self, ids: Tensor, pixels: Tensor, samples: Tensor) -> Tensor:
        joined = self.words(ids) + self.picture(pixels).mean((2, 3)) + self.series(samples).mean(2)
        return self.head(self.second(torch.relu(self.first(joined))))


LAYERS = ["words", "picture", "series", "first", "second"]


@pytest.fixture(scope="module")
def peft(vision_ops: object) -> ModuleType:
    import peft

    return peft


def inputs(rows: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(rows, 3, 8, 9, generator=generator, dtype=torch.float64)
    samples = torch.randn(rows, 2, 9, generator=generator, dtype=torch.float64)
    return torch.randint(0, 7, (rows,), generator=generator), pixels, samples


def adapted(peft: ModuleType, model: nn.Module | None = None, second: bool = True, **settings: Any) -> Any:
    """A PEFT model with random adapters: `default` on all layers or those named, `second` on two of them."""
    torch.manual_seed(0)
    settings = {"r": 2, "lora_alpha": 6, "target_modules": LAYERS, "init_lora_weights": False, **settings}
    wrapped = peft.get_peft_model(model or Small(), peft.LoraConfig(**settings))
    if second:
        more = {"r": 4, "lora_alpha": 3, "init_lora_weights": False, "target_modules": ["first", "picture"]}
        wrapped.add_adapter("second", peft.LoraConfig(**more, use_rslora=True))
        wrapped.base_model.set_adapter(["default", "second"])
    for name, parameter in wrapped.named_parameters():
        if "lora_magnitude_vector" in name:  # as trained: at first it is the norm itself
            parameter.data *= 1.3
    return wrapped.double().eval()


def folded(model: nn.Module) -> tuple[nn.Module, CollapseReport]:
    collapsed, report = collapse(model, rules=[peft_lora])
    assert not [part for part in collapsed.modules() if peft_kinds(part)]
    return collapsed, report


def largest(first: Tensor, second: Tensor) -> float:
    return (first - second).abs().max().item()


CASES = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "biased": {"lora_bias": True, "target_modules": ["picture", "first"]},
    "dropout": {"lora_dropout": 0.5},
    "patterned": {"rank_pattern": {"first": 3}, "alpha_pattern": {"first": 5}},
    "pissa": {"init_lora_weights": "pissa", "target_modules": ["first"]},
    "saved": {"modules_to_save": ["head"]},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [1, 4])
def test_a_peft_model_collapses_to_its_base_class_with_its_outputs(peft: ModuleType, case: str, rows: int) -> None:
    model = adapted(peft, **CASES[case])
    collapsed, _ = folded(model)
    assert largest(collapsed(*inputs(rows)), model(*inputs(rows))) <= EXACT * model(*inputs(rows)).abs().max().item()
    assert type(collapsed) is Small
    assert list(collapsed.state_dict()) == list(Small().state_dict())
    Small().double().load_state_dict(collapsed.state_dict(), strict=True)
    assert not hasattr(collapsed, "peft_config")


@pytest.mark.parametrize("case", CASES)
def test_the_adapters_change_the_outputs_by_far_more(peft: ModuleType, case: str) -> None:
    model = adapted(peft, **CASES[case])
    adapted_outputs = model(*inputs())
    with model.disable_adapter():
        assert largest(model(*inputs()), adapted_outputs) > 1e-2


def test_several_dora_adapters_on_one_layer_act_one_after_the_other(peft: ModuleType) -> None:
    model = adapted(peft, use_dora=True, second=False)
    model.add_adapter("second", peft.LoraConfig(r=3, use_dora=True, init_lora_weights=False, target_modules=LAYERS))
    model.double().eval()
    outputs = []
    for order in (["default", "second"], ["second", "default"]):
        model.base_model.set_adapter(order)
        outputs.append(model(*inputs()))
        assert largest(folded(model)[0](*inputs()), outputs[-1]) <= EXACT * outputs[-1].abs().max().item()
    assert largest(*outputs) > 1e-2


def test_the_scaling_of_a_layer_counts(peft: ModuleType) -> None:
    model = adapted(peft, second=False)
    before = folded(model)[0](*inputs())
    model.base_model.model.first.scale_layer(2.5)
    assert largest(folded(model)[0](*inputs()), model(*inputs())) <= EXACT * 10
    assert largest(before, model(*inputs())) > 1e-2


def test_only_the_active_adapter_is_folded(peft: ModuleType) -> None:
    model = adapted(peft)
    model.set_adapter("second")
    collapsed, report = folded(model)
    assert largest(collapsed(*inputs()), model(*inputs())) <= EXACT * 10
    told = {entry.layer: (entry.folded, entry.scales) for entry in report.layers if entry.layer}
    assert told["first"] == ("LoRA adapter second into one weight", (1.5,))
    assert told["second"] == ("LoRA adapters dropped, as they are not active", ())


def test_the_report_counts_the_numbers_and_the_rounding_of_a_layer(peft: ModuleType) -> None:
    model = adapted(peft, target_modules=["second"], second=False)
    for dtype, low, high in ((torch.float64, 0, 1e-15), (torch.float32, 1e-12, 1e-7)):
        (entry,) = [entry for entry in folded(model.to(dtype))[1].layers if entry.layer == "second"]
        assert (entry.parameters_before, entry.parameters_after) == (40 + 2 * (8 + 5), 40)
        assert low <= entry.error <= high


def test_disabled_adapters_are_dropped_with_a_note(peft: ModuleType) -> None:
    base = Small()
    plain, model = copy.deepcopy(base).double(), adapted(peft, base)
    model.base_model.disable_adapter_layers()
    collapsed, report = folded(model)
    assert torch.equal(collapsed(*inputs()), plain(*inputs()))
    assert "LoRA adapters dropped, as they are disabled" in {entry.folded for entry in report.layers}


def test_merged_adapters_are_not_merged_twice(peft: ModuleType) -> None:
    model = adapted(peft)
    expected = model(*inputs())
    model.merge_adapter()
    collapsed, report = folded(model)
    assert largest(collapsed(*inputs()), expected) <= EXACT * expected.abs().max().item()
    assert {e.folded for e in report.layers if e.layer == "first"} == {
        "LoRA adapters default, second were merged already, and are taken off"
    }


def test_a_wrapped_model_inside_another_is_unwrapped_in_its_place(peft: ModuleType) -> None:
    outer = nn.ModuleDict({"text": adapted(peft), "other": nn.Linear(2, 2)})
    collapsed, report = folded(outer)
    assert largest(collapsed["text"](*inputs()), outer["text"](*inputs())) <= EXACT * 10
    assert [entry.layer for entry in report.layers][:2] == ["text", "text"]
    assert "text.first" in [entry.layer for entry in report.layers]


def test_layers_that_were_adapted_in_place_are_folded(peft: ModuleType) -> None:
    model = Small().double().eval()
    config = peft.LoraConfig(r=2, target_modules=["first"], init_lora_weights=False)
    peft.inject_adapter_in_model(config, model)
    collapsed, _ = folded(model.double())
    assert largest(collapsed(*inputs()), model(*inputs())) <= EXACT * 10


def test_a_shared_wrapper_is_replaced_at_each_of_its_names(peft: ModuleType) -> None:
    shared = adapted(peft)
    outer = nn.ModuleDict({"image": shared, "text": shared})
    plain = peft_lora(copy.deepcopy(outer)).module
    assert type(plain["image"]) is Small
    assert plain["text"] is plain["image"]


def test_a_saved_and_loaded_model_is_folded(peft: ModuleType, tmp_path: Path) -> None:
    model = adapted(peft, second=False, modules_to_save=["head"])
    model.base_model.model.head.modules_to_save["default"].weight.data += 1
    model.save_pretrained(tmp_path)
    torch.manual_seed(0)  # the base model is drawn again
    loaded = peft.PeftModel.from_pretrained(Small().double(), tmp_path)
    collapsed, _ = folded(loaded)
    assert largest(collapsed(*inputs()), model(*inputs())) <= EXACT * 10


def test_a_model_of_transformers_that_took_adapters_itself_is_saved_as_a_plain_one(
    peft: ModuleType, tmp_path: Path
) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    settings = CLIPVisionConfig(**sizes, image_size=4, patch_size=2)
    model, images = CLIPVisionModel(settings).eval(), torch.ones(2, 3, 4, 4)
    model.add_adapter(peft.LoraConfig(r=2, target_modules=["q_proj", "fc1"], init_lora_weights=False))
    collapsed, _ = folded(model)
    assert list(collapsed.state_dict()) == list(CLIPVisionModel(settings).state_dict())
    collapsed.save_pretrained(tmp_path)
    loaded = CLIPVisionModel.from_pretrained(tmp_path).eval()
    expected = model(images).pooler_output
    assert largest(loaded(images).pooler_output, expected) <= 1e-5
    model.disable_adapters()
    assert largest(model(images).pooler_output, expected) > 1e-2


def test_a_weight_of_zeros_has_no_ratio(peft: ModuleType) -> None:
    base = nn.Sequential(nn.Linear(3, 3))
    nn.init.zeros_(base[0].weight)
    _, report = folded(adapted(peft, base, second=False, target_modules=["0"]))
    assert [entry.relative_change for entry in report.layers if entry.scales] == [None]


def test_a_weight_that_is_kept_transposed_is_folded(peft: ModuleType) -> None:
    from transformers.pytorch_utils import Conv1D

    base = nn.Sequential(Conv1D(3, 5))
    model = adapted(peft, base, second=False, target_modules=["0"], fan_in_fan_out=True)
    values = torch.ones(2, 5, dtype=torch.float64)
    assert largest(folded(model)[0](values), model(values)) <= EXACT
    assert type(folded(model)[0][0]) is Conv1D


def test_below_float32_the_sum_is_rounded_once(peft: ModuleType) -> None:
    base = nn.Sequential(nn.Linear(64, 32, dtype=torch.bfloat16))
    plain = base[0].weight.detach().double()
    model = peft.get_peft_model(base, peft.LoraConfig(r=8, target_modules=["0"], init_lora_weights=False)).eval()
    layer = model.base_model.model[0]
    exact = plain + layer.scaling["default"] * (
        layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    )
    collapsed, _ = folded(model)
    assert collapsed[0].weight.dtype == torch.bfloat16
    assert ((collapsed[0].weight.double() - exact).abs() <= exact.abs() * 2**-8 * 1.001).all()


def test_flags_and_modes_of_what_is_left_are_untouched(peft: ModuleType) -> None:
    model = adapted(peft).train()
    model.base_model.model.head.eval()
    collapsed, _ = folded(model)
    assert not any(parameter.requires_grad for parameter in collapsed.parameters())
    assert [name for name, part in collapsed.named_modules() if not part.training] == ["head"]


def test_the_model_that_was_given_is_not_changed(peft: ModuleType) -> None:
    model = adapted(peft)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    folded(model)
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.out = nn.Embedding(7, 6), nn.Linear(6, 7, bias=False)
        self.out.weight = self.words.weight


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.ModuleList([self.one])


def of_layer(layer: nn.Module, **settings: Any) -> Callable[[ModuleType], nn.Module]:
    return lambda peft: adapted(peft, nn.Sequential(layer), second=False, target_modules=["0"], **settings)


def tied(peft: ModuleType) -> nn.Module:
    return adapted(peft, Tied(), second=False, target_modules=["out"])


def used_elsewhere(peft: ModuleType) -> nn.Module:
    return adapted(peft, Twice(), second=False, target_modules=["one"])


def dropping(peft: ModuleType) -> nn.Module:
    return adapted(peft, lora_dropout=0.5).train()


def hooked(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.base_model.model.first.register_forward_hook(lambda *_: None)
    return model


def hooked_base(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.base_model.model.first.base_layer.register_forward_hook(lambda *_: None)
    return model


def hooked_dropout(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.base_model.model.first.lora_dropout["default"].register_forward_hook(lambda _, __, values: 2 * values)
    return model


def replaced_forward(part: str) -> Callable[[ModuleType], nn.Module]:
    def make(peft: ModuleType) -> nn.Module:
        model = adapted(peft)
        module = model.get_submodule(part)
        plain = module.forward
        module.forward = lambda *values: 2 * plain(*values)
        return model

    return make


def own_model_class(peft: ModuleType) -> nn.Module:
    class Doubled(peft.PeftModel):
        def forward(self, *values: Tensor) -> Tensor:
            return 2 * super().forward(*values)

    return Doubled(Small(), peft.LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False)).eval()


def own_tuner_class(peft: ModuleType) -> nn.Module:
    class Doubled(peft.LoraModel):
        def forward(self, *values: Tensor) -> Tensor:
            return 2 * super().forward(*values)

    return Doubled(Small(), peft.LoraConfig(r=2, target_modules=LAYERS, init_lora_weights=False), "default").eval()


def dora_of_an_old_release(peft: ModuleType) -> nn.Module:
    """As before `lora_variant` came: only `use_dora` tells of it."""
    model = adapted(peft, second=False, use_dora=True)
    for part in model.modules():
        if peft_kinds(part) and hasattr(part, "lora_variant"):
            part.lora_variant.clear()
    assert model.base_model.model.first.use_dora == {"default": True}
    return model


def past_attention(peft: ModuleType) -> nn.Module:
    return adapted(peft, nn.Sequential(nn.MultiheadAttention(4, 2)), second=False, target_modules=["out_proj"])


def encoder_layer(peft: ModuleType, **settings: bool) -> nn.Module:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, **settings)
    return adapted(peft, nn.Sequential(layer), second=False, target_modules=["linear1"])


def on_the_fast_path(peft: ModuleType) -> nn.Module:
    return encoder_layer(peft, batch_first=True)


def merged_and_disabled(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.merge_adapter()
    model.base_model.disable_adapter_layers()
    return model


def with_nan(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.base_model.model.first.lora_A["default"].weight.data[0, 0] = float("nan")
    return model


def of_input_dependent_scale(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    model.base_model.model.first.scaling["default"] = torch.ones(4, 1)
    return model


def too_large_for_fp16(peft: ModuleType) -> nn.Module:
    model = adapted(peft, second=False, target_modules=["first"])
    model.base_model.model.first.scaling["default"] = 1e6
    return model.half()


def int8_base(peft: ModuleType) -> nn.Module:
    model = adapted(peft)
    base = model.base_model.model.first.base_layer
    base.weight = nn.Parameter(torch.zeros(8, 6, dtype=torch.int8), requires_grad=False)
    return model


class PackedLinear(nn.Linear):
    """Stands for a class that keeps its weight in a form of its own."""


def max_norm(peft: ModuleType) -> nn.Module:
    return adapted(peft, nn.Sequential(nn.Embedding(7, 6, max_norm=1.0)), second=False, target_modules=["0"])


def of_another_method(peft: ModuleType) -> nn.Module:
    return peft.get_peft_model(Small(), peft.IA3Config(target_modules=["first"], feedforward_modules=[]))


REFUSED = {
    "tied": (tied, "tied with another layer's"),
    "used elsewhere": (used_elsewhere, "also used without the adapter"),
    "dropout": (dropping, "has dropout, which acts in training mode"),
    "hook": (hooked, "a hook is on its Linear"),
    "hook on the base": (hooked_base, "a hook is on its Linear"),
    "hook on the dropout": (hooked_dropout, "a hook is on its Identity"),
    "forward of a layer": (replaced_forward("base_model.model.first"), "the forward of its Linear was replaced"),
    "forward of a base layer": (
        replaced_forward("base_model.model.first.base_layer"),
        "the forward of its Linear was replaced",
    ),
    "forward of the model": (replaced_forward(""), "the forward of its PeftModel was replaced"),
    "own class of the model": (own_model_class, "it is a .*Doubled, a class of its own over PEFT's"),
    "own class of the tuner": (own_tuner_class, "it is a .*Doubled, a class of its own over PEFT's"),
    "passed by attention": (past_attention, "MultiheadAttention around it reads its weight and passes its adapter by"),
    "passed by the fast path": (on_the_fast_path, "TransformerEncoderLayer around it reads its weight"),
    "DoRA of an old release": (dora_of_an_old_release, "DoRA of a release of PEFT that keeps it elsewhere"),
    "merged and disabled": (merged_and_disabled, "merged and disabled at once"),
    "not finite": (with_nan, "adapter 'default'.*NaN or infinite"),
    "input-dependent": (of_input_dependent_scale, "is not one finite number"),
    "fp16": (too_large_for_fp16, "infinite values in float16"),
    "int8": (int8_base, "already quantised or packed"),
    "own class": (of_layer(PackedLinear(3, 3)), "PackedLinear, quantised or of a kind of its own"),
    "no bias": (of_layer(nn.Linear(3, 3, bias=False), lora_bias=True), "has a bias .lora_bias. and the layer has none"),
    "grouped": (of_layer(nn.Conv2d(4, 4, 1, groups=2)), "grouped convolution"),
    "dilated": (of_layer(nn.Conv2d(3, 3, 3, dilation=2)), r"its dilation is \(2, 2\) and that of its adapter"),
    "reflecting": (
        of_layer(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
        "its padding_mode is reflect and that of its adapter 'default' zeros",
    ),
    "max_norm": (max_norm, "has max_norm"),
    "attention": (of_layer(nn.MultiheadAttention(4, 2)), "merges its adapters at every call"),
    "another method": (of_another_method, "IA3Model, which is no LoRA"),
}


@torch.no_grad()
def test_an_encoder_layer_is_folded_where_it_calls_its_layers(peft: ModuleType) -> None:
    tokens = torch.ones(2, 3, 4, dtype=torch.float64)
    slow, fast = encoder_layer(peft, batch_first=False), encoder_layer(peft, batch_first=True)
    expected = slow(tokens.transpose(0, 1)).transpose(0, 1)
    assert largest(fast(tokens), expected) > 1e-2
    assert largest(folded(slow)[0](tokens.transpose(0, 1)).transpose(0, 1), expected) <= EXACT
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        assert largest(fast(tokens), expected) <= EXACT
        collapsed, _ = folded(fast)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    assert largest(collapsed(tokens), expected) <= EXACT


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_folded_exactly_is_refused_by_reason(peft: ModuleType, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(UnsupportedModuleError, match=reason):
        collapse(make(peft), rules=[peft_lora])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_variant_that_depends_on_the_input_is_refused(peft: ModuleType) -> None:
    model = adapted(peft, second=False, target_modules=["first"], alora_invocation_tokens=[1])
    with pytest.raises(UnsupportedModuleError, match="is LoRA's ALoraLinear"):
        collapse(model, rules=[peft_lora])


def test_the_rules_import_no_peft() -> None:
    files = list((Path(onepath.__file__).parent / "export" / "collapse").glob("*.py"))
    imported = {
        name
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in imported_names(node)
    }
    assert "torch" in imported
    assert "peft" not in imported


def imported_names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [(node.module or "").partition(".")[0]]
    return [alias.name.partition(".")[0] for alias in node.names] if isinstance(node, ast.Import) else []
