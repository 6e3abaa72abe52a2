"""The names that users may rely on. A change here is a change for them: say so in CHANGELOG.md."""

import importlib

import pytest

from onepath.contract.plugins import known_plugins, load_plugin

PUBLIC = {
    "onepath.clients": {"Client", "HttpClient", "PipelineClient", "Prediction", "Predictions"},
    "onepath.export.collapse": {"CollapseReport", "CollapseRule", "FoldedLayer", "Folding", "collapse"},
    "onepath.merging.lego": {"LegoBlock", "LegoFuse", "LegoMerge", "LegoSettings"},
    "onepath.merging.reparameterization": {
        "FoldedWeight",
        "Pair",
        "Plan",
        "attach",
        "collapse_in_place",
        "collapsed_state_dict",
        "parameter_groups",
        "plan_from_json",
        "plan_reparameterization",
        "reparameterize",
        "scales",
        "train_scales_only",
    },
    "onepath.modalities": {
        "DecodedRows",
        "decode_rows",
        "processor_from_entry",
        "processor_from_settings",
        "settings_in_full",
        "tensor_from_settings",
    },
    "onepath.scoring": {
        "EngineSettings",
        "LocalEngine",
        "Pipeline",
        "ScoreReport",
        "ScoreSettings",
        "pipeline_from_bundle",
        "score",
    },
    "onepath.server": {
        "DeploySettings",
        "ProbeReport",
        "RunningServer",
        "ServerSettings",
        "TritonInstallation",
        "check_probes",
        "deploy",
        "find_triton",
        "start_server",
        "verify_repository",
    },
}

PLUGINS = {
    "onepath.modalities": ["audio", "image", "tabular", "text"],
    "onepath.merge_methods": ["harmonic", "mean", "product", "sum"],
    "onepath.collapse_rules": ["cross_modal", "lego_block", "lego_fuse", "lego_merge"],
}


@pytest.mark.parametrize("package", PUBLIC)
def test_a_package_offers_these_names_and_no_others(package):
    module = importlib.import_module(package)
    assert set(module.__all__) == PUBLIC[package]
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("group", PLUGINS)
def test_the_built_in_plugins_are_these_and_load(group):
    assert set(PLUGINS[group]) <= set(known_plugins(group))
    assert all(callable(load_plugin(group, name)) for name in PLUGINS[group])
