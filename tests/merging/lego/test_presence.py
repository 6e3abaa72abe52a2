"""A row gets what merging only the blocks that it has would have given."""

import copy
from itertools import combinations, product

import pytest
import torch

from onepath.contract.errors import UnknownPluginError, UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge
from onepath.merging.lego.heads import HEAD_METHODS, WholeHeadMethod
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs

METHODS = ["sum", "mean", "product", "harmonic"]
OTHER_HEADS = sorted(set(HEAD_METHODS) - {"slerp"})
SUBSETS = ["".join(subset) for size in (1, 2, 3) for subset in combinations("abc", size)]
WEIGHTS = {"a": 2.0, "b": 1.0, "c": 0.5}


def presence(subset: str, rows: int = 7) -> torch.Tensor:
    return torch.tensor([[name in subset for name in "abc"]]).expand(rows, 3)


def kind_of(kind: str, blocks: dict, **form: str) -> torch.nn.Module:
    return LegoMerge(blocks, method=kind, **form) if kind in METHODS else LegoFuse(blocks, order=kind, **form)


def gradients_of(block: LegoBlock) -> dict[str, torch.Tensor]:
    """What was never reached counts as zero: absent blocks may or may not be in the graph."""
    return {
        name: torch.zeros_like(value) if value.grad is None else value.grad.clone()
        for name, value in block.named_parameters()
    }


def only(mapping: dict, subset: str) -> dict:
    return {name: mapping[name] for name in subset}


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize(("method", "head"), [*product(METHODS, ["slerp"]), *product(["harmonic"], OTHER_HEADS)])
def test_a_pattern_gives_what_merging_only_its_blocks_gives(method: str, head: str, subset: str) -> None:
    blocks, inputs = small_blocks(), small_inputs()
    whole = LegoMerge(blocks, method=method, head=head, weights=WEIGHTS)
    part = LegoMerge(only(blocks, subset), method=method, head=head, weights=only(WEIGHTS, subset))
    torch.testing.assert_close(whole(inputs, presence(subset)), part(only(inputs, subset)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_a_pattern_does_not_give_what_all_blocks_give(method: str) -> None:
    model, inputs = LegoMerge(small_blocks(), method=method), small_inputs()
    assert (model(inputs, presence("ab")) - model(inputs)).abs().max() > 1e-3


@pytest.mark.parametrize("name", "abc")
@pytest.mark.parametrize("method", METHODS)
def test_one_modality_alone_gives_its_own_blocks_logits(method: str, name: str) -> None:
    blocks, inputs = small_blocks(), small_inputs()
    model = LegoMerge(blocks, method=method, weights=WEIGHTS)
    torch.testing.assert_close(model(inputs, presence(name)), blocks[name](inputs[name]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("order", ["stack", "weave"])
@pytest.mark.parametrize("name", "abc")
def test_one_modality_alone_gives_its_own_blocks_logits_before_fine_tuning(order: str, name: str) -> None:
    blocks, inputs = small_blocks(), small_inputs()
    model = LegoFuse(blocks, order=order)
    torch.testing.assert_close(model(inputs, presence(name)), blocks[name](inputs[name]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize(("order", "head"), [("stack", "slerp"), ("weave", "slerp"), *product(["stack"], OTHER_HEADS)])
def test_a_chain_skips_the_steps_of_absent_blocks(order: str, head: str, subset: str) -> None:
    blocks, inputs = small_blocks(), small_inputs()
    part = LegoFuse(only(blocks, subset), order=order, head=head)(only(inputs, subset))
    whole = LegoFuse(blocks, order=order, head=head)(inputs, presence(subset))
    torch.testing.assert_close(whole, part, rtol=0, atol=1e-11)


@pytest.mark.parametrize("form", [{}, {"fourier_dim": 2}, {"context_fft": False}], ids=str)
@pytest.mark.parametrize("kind", ["sum", "harmonic", "stack", "weave"])
def test_every_form_of_block_and_blocks_without_encoders_are_left_out_exactly(kind: str, form: dict) -> None:
    blocks, inputs = small_blocks("amn", **form), small_inputs("amn")
    whole, part = kind_of(kind, blocks), kind_of(kind, only(blocks, "mn"))
    present = torch.tensor([[False, True, True]]).expand(7, 3)
    torch.testing.assert_close(whole(inputs, present), part(only(inputs, "mn")), rtol=0, atol=1e-11)


@pytest.mark.parametrize("subset", ["b", "ac", "abc"])
@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_a_pattern_has_the_gradients_of_merging_only_its_blocks(kind: str, subset: str) -> None:
    blocks, inputs = small_blocks(), small_inputs()
    gradients = []
    for names in ("abc", subset):
        present = presence(subset) if names == "abc" else None
        kind_of(kind, only(blocks, names))(only(inputs, names), present).square().sum().backward()
        gradients.append({name: gradients_of(blocks[name]) for name in subset})
        for block in blocks.values():
            block.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_a_call_changes_neither_weights_nor_inputs_and_can_be_repeated(kind: str) -> None:
    model, inputs, patterns = kind_of(kind, small_blocks()), small_inputs(), every_pattern(3)
    weights, before = copy.deepcopy(model.state_dict()), copy.deepcopy(inputs)
    first = model(inputs, patterns)
    assert torch.equal(model(inputs, patterns), first)
    assert all(torch.equal(before[name], value) for name, value in inputs.items())
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_a_batch_of_one_is_a_row_of_a_batch(kind: str) -> None:
    model, inputs = kind_of(kind, small_blocks()), small_inputs()
    alone = model({name: values[:1] for name, values in inputs.items()})
    torch.testing.assert_close(alone, model(inputs)[:1], rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_rows_of_all_patterns_mix_in_one_batch(kind: str) -> None:
    model, inputs, patterns = kind_of(kind, small_blocks()), small_inputs(), every_pattern(3)
    alone = [model({k: v[i : i + 1] for k, v in inputs.items()}, patterns[i : i + 1]) for i in range(7)]
    torch.testing.assert_close(model(inputs, patterns), torch.cat(alone), rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_what_stands_in_an_absent_place_does_not_matter(kind: str) -> None:
    model, inputs, patterns = kind_of(kind, small_blocks()), small_inputs(), every_pattern(3)
    features = {name: model.encoders[name](inputs[name]) for name in "abc"}
    junk = {
        name: torch.where(patterns[:, i].reshape(-1, *[1] * (f.ndim - 1)), f, 1e3)
        for i, (name, f) in enumerate(features.items())
    }
    assert torch.equal(model.fuse(features, patterns)["scores"], model.fuse(junk, patterns)["scores"])


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_an_empty_row_is_finite(kind: str) -> None:
    model, inputs = kind_of(kind, small_blocks()), small_inputs()
    assert model(inputs, presence("")).isfinite().all()


@pytest.mark.parametrize("kind", [*METHODS, "stack", "weave"])
def test_gradients_are_finite_for_every_pattern_at_once(kind: str) -> None:
    model = kind_of(kind, small_blocks())
    patterns = torch.cat([every_pattern(3), torch.zeros(1, 3, dtype=torch.bool)])
    model(small_inputs(rows=8), patterns).square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) > 50
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_fresh_blocks_with_equal_norms_give_finite_logits_and_gradients() -> None:
    blocks = small_blocks()
    for block in blocks.values():
        block.head.norm.reset_parameters()
    model = LegoMerge(blocks)
    model(small_inputs()).sum().backward()
    assert all(block.head.norm.weight.grad.isfinite().all() for block in blocks.values())


def test_weights_loaded_into_a_block_later_count() -> None:
    blocks, inputs = small_blocks(), small_inputs()
    model = LegoMerge(blocks)
    blocks["a"].load_state_dict(small_block("a", seed=9).state_dict())
    torch.testing.assert_close(model(inputs, presence("a")), blocks["a"](inputs["a"]), rtol=0, atol=1e-13)


def test_a_fused_chain_is_trained_by_its_own_gradients() -> None:
    model, inputs = LegoFuse(small_blocks()), small_inputs()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(inputs), torch.arange(7) % 3)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_blocks_of_different_forms_are_refused_by_name() -> None:
    blocks = {"a": small_block("a"), "b": small_block("b", latents=5)}
    with pytest.raises(UnsupportedModuleError, match="block b: its latents is 5, and that of block a is 6"):
        LegoMerge(blocks)


def test_no_blocks_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="nothing to merge"):
        LegoMerge({})


def test_something_else_than_a_block_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModuleError, match="block a: it is a Linear"):
        LegoFuse({"a": torch.nn.Linear(2, 2)})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    with pytest.raises(UnsupportedModuleError, match="the weight of 'a'"):
        LegoMerge(small_blocks(), weights={"a": weight})


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(UnknownPluginError, match="harmonic, mean, product, sum"):
        LegoMerge(small_blocks(), method="harmonik")


def test_an_unknown_head_method_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedModuleError, match="linear, slerp"):
        LegoMerge(small_blocks(), head="cubic")


def test_an_unknown_order_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="use stack or weave"):
        LegoFuse(small_blocks(), order="pile")


def test_a_chain_needs_to_know_the_number_of_tokens_of_an_absent_row() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"block b: .*set its tokens"):
        LegoFuse({"a": small_block("a"), "b": small_block("b", tokens=None)})


@pytest.mark.parametrize("name", ["a.b", "", "keys", "training", 1])
def test_a_name_that_no_module_can_have_is_refused(name: str) -> None:
    for kind in (LegoMerge, LegoFuse):
        with pytest.raises(UnsupportedModuleError, match=f"the modality {name!r}.*give it another name"):
            kind({name: small_block("a")})


@pytest.mark.parametrize("kind", ["sum", "stack"])
@pytest.mark.parametrize("collapsed", [False, True])
def test_inputs_that_do_not_fit_are_refused_by_name(kind: str, collapsed: bool) -> None:
    model, inputs = kind_of(kind, small_blocks()), small_inputs()
    model = collapse(model)[0] if collapsed else model
    refusals = {
        "modality 'c': it has no values": ({"a": inputs["a"], "b": inputs["b"]}, None),
        r"modality 'b': it has 3 rows, and 'a' has 7": ({**inputs, "b": inputs["b"][:3]}, None),
        r"presence torch.bool \(7, 2\)": (inputs, torch.ones(7, 2, dtype=torch.bool)),
        r"presence torch.bool \(1, 3\)": (inputs, torch.ones(1, 3, dtype=torch.bool)),
        r"presence torch.float32 \(7, 3\)": (inputs, torch.ones(7, 3)),
    }
    for message, run in refusals.items():
        with pytest.raises(UnsupportedModuleError, match=message):
            model(*run)


def test_as_published_one_block_is_no_chain() -> None:
    with pytest.raises(UnsupportedModuleError, match="one block with compat 'published'"):
        LegoFuse(small_blocks("a"), compat="published")


@pytest.mark.parametrize("head", sorted(HEAD_METHODS))
@pytest.mark.parametrize("kind", ["sum", "stack"])
def test_only_heads_of_patterns_that_occur_are_merged(kind: str, head: str) -> None:
    model, merged = kind_of(kind, small_blocks(), head=head), []
    method = model.head_method
    inner = method.merged if isinstance(method, WholeHeadMethod) else method

    def counted(heads, weights):
        merged.append(len(weights))
        return inner(heads, weights)

    model.head_method = WholeHeadMethod(counted) if isinstance(method, WholeHeadMethod) else counted
    model(small_inputs(), presence("ab"))
    model(small_inputs(rows=14), torch.cat([presence("ab"), presence("c")]))
    model(small_inputs(rows=0), presence("ab", rows=0))
    assert merged == [1, 2, 0]
