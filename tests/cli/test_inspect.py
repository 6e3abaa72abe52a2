"""What `onepath inspect` shows of bundles, old and new."""

import json

import pytest

from onepath.cli.bundle_tables import print_engines, print_origins
from onepath.contract.bundle import MANIFEST, open_bundle
from onepath.contract.digests import canonical_json
from onepath.contract.graphs import EngineEntry
from onepath.contract.writing import amend_bundle
from tests.contract import small_bundle
from tests.contract.test_migration import in_first_schema
from tests.export.answered_toy import answered

COLUMNS = 100


def parts_missing(text, parts):
    return [part for part in parts if part not in text]


@pytest.fixture
def amended(workspace):
    """Put files and changes into the bundle, and return its folder."""

    def amend(files=(), **changes):
        encoded = {name: canonical_json(data) for name, data in dict(files).items()}
        amend_bundle(workspace / "build/tiny", encoded, lambda manifest: manifest.model_copy(update=changes))
        return workspace / "build/tiny"

    return amend


def test_it_shows_what_a_bundle_takes_and_gives(onepath, workspace):
    stdout = onepath("inspect", "tiny").stdout
    assert parts_missing(stdout, ["scores float32 [3]", "uint8 [1, 4, 4]", "low, middle, high"]) == []


def test_it_shows_every_part_of_a_built_bundle(onepath):
    stdout = onepath("inspect", answered()).stdout
    titles = ["Graphs", "Modalities", "toy: proof chain", "Every comparison", "Answers to 14 golden probes", "Files"]
    assert [title for title in titles if title not in stdout.splitlines()] == []
    deployed, variant = (line.split() for line in stdout.splitlines() if line.endswith((" deployed", " variant")))
    assert (deployed[:2], deployed[-1]) == (["graphs/model.onnx", "fp32"], "deployed")
    assert (variant[:2], variant[-1]) == (["graphs/fp16.onnx", "fp16"], "variant")
    stages = ["merge.reference", "merge", "collapse", "cast", "torch", "onnx", "precision:fp16"]
    shown = [line.split()[0] for line in stdout.splitlines() if " 14 × 3 " in line]
    assert [stage for stage in shown if stage not in ("fold", "fuse")] == stages
    assert parts_missing(stdout, ["max_relative", "golden probes, merge to collapse", "0.25", "-0.5"]) == []
    digests = [entry.sha256[:16] for entry in open_bundle(answered()).manifest.files.values()]
    assert parts_missing(stdout, digests) == []


def test_no_line_is_wider_than_a_terminal(onepath):
    lines = onepath("inspect", answered()).stdout.splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []


ESTIMATE = {"value": -0.4711, "low": -0.5142, "high": -0.4283}
SIX = ["picture", "sound", "writing", "movement", "geometry", "measurements"]


def robustness(*patterns):
    """Return a robustness report of six modalities with embeddings, whose figures are as wide as they come."""
    results = [
        {
            "present": list(present),
            "metric": ESTIMATE,
            "agreement": ESTIMATE,
            "gain_over_encoder": dict.fromkeys(present, ESTIMATE),
            "zero_filling": {"metric": ESTIMATE, "gain": ESTIMATE},
        }
        for present in patterns
    ]
    counts = {"rows": 12, "rows_available": 12, "patterns_accepted": 63, "seed": 0}
    named = {"task": "embedding", "metric": "nearest_neighbour_accuracy", "modalities": SIX}
    return {"schema_version": 1, "encoders": dict.fromkeys(SIX, ESTIMATE), "patterns": results} | counts | named


def test_a_report_on_many_modalities_and_an_engine_are_no_wider_than_a_terminal(onepath, amended, capsys):
    stdout = onepath("inspect", amended({"reports/robustness.json": robustness(SIX[:1], SIX)})).stdout
    print_engines(with_engine(open_bundle(answered()).manifest))
    lines = [*stdout.splitlines(), *capsys.readouterr().out.splitlines()]
    assert parts_missing(stdout, ["picture+sound+", "measurements", "-51.4"]) == []
    assert [line for line in lines if len(line) > COLUMNS] == []


def test_encoders_that_there_is_no_figure_of_are_shown_with_the_reason(onepath, amended):
    report = robustness(SIX[:1]) | {"encoders": {}, "encoders_left_out": {"picture": "nobody trained it"}}
    stdout = onepath("inspect", amended({"reports/robustness.json": report})).stdout
    lines = [line.split() for line in stdout.splitlines()]
    assert ["Encoders", "that", "it", "was", "not", "compared", "with"] in lines
    assert ["picture", "nobody", "trained", "it"] in lines


def with_engine(manifest):
    engine = EngineEntry(
        files={"graph": "graphs/model.onnx"},
        graph="graphs/model.int8.onnx",
        precision="int8",
        compute_capability="8.9",
        gpu="NVIDIA RTX 6000 Ada Generation",
        tensorrt="10.13.3.9",
        opt_rows=128,
        max_rows=256,
    )
    return manifest.model_copy(update={"engines": (engine,)})


def test_a_bundle_of_the_first_schema_is_shown(onepath, workspace):
    path = workspace / "build/tiny"
    old = in_first_schema(json.loads((path / MANIFEST).read_text()))
    small_bundle.write_manifest(path, canonical_json(old))
    found = onepath("inspect", "tiny")
    assert found.exit_code == 0
    assert "only the graphs themselves can be measured again" in found.stdout


def test_it_gives_everything_as_one_json_object(onepath, workspace):
    printed = json.loads(onepath("inspect", answered(), "--json").stdout)
    manifest = json.loads((answered() / MANIFEST).read_text())
    assert {name: printed[name] for name in manifest} == manifest
    assert printed["id"] == (answered() / "manifest.sha256").read_text()[:64]
    assert printed["stages"]["merge.reference"] == [14, 3]
    assert printed["reports"]["collapse"] == json.loads((answered() / "reports/collapse.json").read_text())
    assert printed["signature"] is None


def test_the_parents_and_who_merged_them_with_which_scales_are_tables(capsys):
    print_origins(
        {
            "parents": {"left": {"build": "models.py:classifier", "sha256": "ab" * 32, "weights": None}},
            "merges": {"mean": {"method": "linear", "models": {"left": 3.0, "right": 1.0}}},
            "pathway_scales": {"blocks.0.attn.qkv": 0.0034521, "blocks.1.mlp.fc2": [-0.5, 0.25]},
        }
    )
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["left", "abababababababab", "build=models.py:classifier"] in shown
    assert ["mean", "linear", "models=(left=3,", "right=1)"] in shown
    assert ["blocks.0.attn.qkv", "0.0034521"] in shown
    assert ["blocks.1.mlp.fc2", "-0.5+0.25"] in shown


MERGES = {
    "agreed": {
        "method": "ties",
        "tensors": [
            {"name": "first.weight", "method": "ties", "relative_change": 0.222288, "coefficients": {"left": 0.25}}
        ],
    },
    "extended": {"method": "cross_modal", "auxiliaries": [{"model": "base", "scales": {"first.weight": [0.25]}}]},
}
PRECISION = {
    "machine": {"cpu": "A Processor"},
    "graphs": [
        {
            "precision": "int8",
            "outcome": "chosen",
            "form": "dynamic",
            "attempts": [{"form": "dynamic", "problem": "", "speed": [{"rows": 1, "ratio": 3.456}]}],
        },
        {
            "precision": "bf16",
            "outcome": "dropped",
            "form": None,
            "attempts": [{"form": "cast", "problem": "max_abs is 0.3, over 0.1", "speed": []}],
        },
    ],
}
TUNING = {
    "measured": [
        {"name": "int8, 2 × 1", "ratio": 1.5, "is_chosen": True, "is_default": False, "is_on_front": True},
        {"name": "fp32, 9 × 9", "ratio": 0.5, "is_chosen": False, "is_default": False, "is_on_front": False},
    ]
}


def folded(layer, **figures):
    """Return an entry of a collapse report, as a bundle holds it."""
    named = ("relative_change", "error", "parameters_before", "parameters_after", "flops_before", "flops_after")
    entry = {"layer": layer, "rule": "cross_modal", "folded": "1 auxiliary into one weight", "scales": [], "parts": []}
    return entry | dict.fromkeys(named) | figures


def collapse_report(*layers, left=()):
    sizes = {"parameters_before": 90, "parameters_after": 50, "flops_before": 2000, "flops_after": 1000}
    return sizes | {"layers": list(layers), "left": list(left)}


DEEP = "encoders.picture.block.encoder.layers.{}.attention.query_key_value_projection.weight"


def test_a_folded_layer_is_shown_with_all_its_figures_and_whose_its_scales_are(onepath, amended):
    figures = {"parameters_before": 1234, "parameters_after": 600, "flops_before": 7000, "flops_after": 7000}
    layers = [
        folded(
            DEEP.format(number),
            relative_change=0.0123,
            error=1.5e-16,
            scales=[0.25, -0.5],
            auxiliaries=["sound", None],
            **figures,
        )
        for number in range(2)
    ]
    stdout = onepath("inspect", amended({"reports/collapse.json": collapse_report(*layers)})).stdout
    assert "Collapse: 90 to 50 parameters, 2,000 to 1,000 FLOPs on one row" in stdout
    assert "cross_modal in encoders.picture.block.encoder.layers: 1 auxiliary into one weight" in stdout
    lines = [line.split() for line in stdout.splitlines()]
    first = next(number for number, line in enumerate(lines) if line and line[0].startswith("0.attention."))
    assert lines[first][1:] == ["0.012", "1.5e-16", "0.25", "of", "sound", "1,234", "7,000"]
    assert lines[first + 1][-3:] == ["-0.5", "to", "600"]


def test_a_report_that_names_no_auxiliaries_is_shown_with_its_scales(onepath, amended):
    report = collapse_report(folded("first.weight", scales=[0.25]))
    lines = [
        line.split() for line in onepath("inspect", amended({"reports/collapse.json": report})).stdout.splitlines()
    ]
    assert ["first.weight", "0.25"] in lines


def test_layers_that_are_left_for_one_reason_are_one_row(onepath, amended):
    names = ["picture.chain.0", "picture.chain.1", "sound.chain.0"]
    left = [{"layer": name, "rule": "pixel_normalization", "reason": "it is tied"} for name in names]
    left.append({"layer": "", "rule": "batch_norm", "reason": "it is in training mode"})
    stdout = onepath("inspect", amended({"reports/collapse.json": collapse_report(left=left)})).stdout
    lines = [line.split() for line in stdout.splitlines()]
    assert [*["pixel_normalization", "picture.chain.0", "and", ".1,", "sound.chain.0", "it", "is", "tied"]] in lines
    assert [*["batch_norm", "the", "model", "it", "is", "in", "training", "mode"]] in lines


def test_no_name_is_too_long_for_a_table(onepath, amended):
    entry = folded("x" * 250, relative_change="inf", error=0.5, scales=[1.0], auxiliaries=["sound"])
    left = [{"layer": f"{'y' * 120}.{number}", "rule": "a_rule", "reason": "z" * 150} for number in range(9)]
    report = collapse_report(entry, left=left) | {
        "flops_before": 10**15,
        "flops_after": 10**14,
        "parameters_after": 10**12,
    }
    files = {"reports/collapse.json": report}
    lines = onepath("inspect", amended(files)).stdout.splitlines()
    assert [line for line in lines if len(line) > COLUMNS] == []
    shown = "".join("".join(line.split()) for line in lines)
    assert (shown.count("x"), shown.count("inf")) >= (250, 1)


PASSES = [
    {"pass": "fold", "kept": True, "reason": "it pays", "nodes_before": 490, "bytes_before": 9000}
    | {"nodes_after": 480, "bytes_after": 9000},
    {"pass": "fuse", "kept": False, "reason": "it cannot be run", "nodes_before": 480, "bytes_before": 9000},
]
LINT = {
    "mean": [{"level": "warning", "tensor": "first.weight", "message": "its norm shrank to 0.7"}],
    "left": [],
}


def test_passes_and_what_the_linter_found_are_tables(onepath, amended):
    files = {"reports/passes.json": PASSES, "reports/lint.json": LINT}
    lines = [line.split() for line in onepath("inspect", amended(files)).stdout.splitlines()]
    assert ["fold", "kept", "490", "to", "480", "9.0", "kB", "it", "pays"] in lines
    assert ["fuse", "dropped", "480", "9.0", "kB", "it", "cannot", "be", "run"] in lines
    assert ["mean", "warning", "first.weight", "its", "norm", "shrank", "to", "0.7"] in lines
    assert ["left", "nothing", "was", "found"] in lines


def test_the_reports_are_tables(onepath, amended):
    files = {"reports/merges.json": MERGES, "reports/precision.json": PRECISION, "reports/tuning.json": TUNING}
    stdout = onepath("inspect", amended(files, deployment={"graph_instances": 2})).stdout
    shown = [line.split() for line in stdout.splitlines()]
    assert ["first.weight", "ties", "0.22", "left=0.25"] in shown
    assert ["base", "first.weight", "0.25"] in shown
    assert ["int8", "chosen", "dynamic", "3.46", "×", "at", "1"] in shown
    assert ["bf16", "dropped", "cast:", "max_abs", "is", "0.3,", "over", "0.1"] in shown
    assert ["int8,", "2", "×", "1", "1.50", "chosen"] in shown
    assert ["graph_instances", "2"] in shown
    assert "9 × 9" not in stdout


@pytest.mark.parametrize("report", [[], {"measured": [{}]}, {"measured": 7}, None])
def test_a_report_of_another_form_is_named_and_the_rest_is_shown(onepath, amended, report):
    found = onepath("inspect", amended({"reports/tuning.json": report}))
    assert found.exit_code == 0
    assert "reports/tuning.json is in a form that this onepath does not show" in found.stdout
    assert "\nFiles\n" in found.stdout
