"""The names that users may rely on. A change here is a change for them: say so in CHANGELOG.md."""

import importlib

import pytest

from onepath.contract.plugins import known_plugins, load_plugin

PUBLIC = {
    "onepath.clients": {
        "Client",
        "HttpClient",
        "PipelineClient",
        "Prediction",
        "Predictions",
    },
    "onepath.export.collapse": {
        "CollapseReport",
        "CollapseRule",
        "FoldedLayer",
        "Folding",
        "collapse",
    },
    "onepath.export.models": {
        "MadeModel",
        "models_from_recipe",
    },
    "onepath.export.planning": {
        "RecipePlan",
        "plan_from_file",
    },
    "onepath.export.recipe": {
        "ModalityRecipe",
        "Recipe",
        "recipe_from_file",
    },
    "onepath.merging.baselines": {
        "Ensemble",
        "HEALNET",
        "HEALNet",
        "LateFusion",
        "LatentSettings",
        "MCAT",
        "MultiModN",
        "PERCEIVER",
        "Perceiver",
        "Source",
        "state_change_penalty",
    },
    "onepath.merging.encoders": {
        "AttentionMIL",
        "SelfNormalizingNetwork",
        "padded_bags",
    },
    "onepath.merging.lego": {
        "LegoBlock",
        "LegoFuse",
        "LegoMerge",
        "LegoSettings",
        "live_parameters",
    },
    "onepath.merging.presets": {
        "AUDIO_DATA_SETS",
        "ClipConstants",
        "PATHWAY_LAYERS",
        "PointConstants",
        "Preset",
        "SIZES",
        "SpectrogramConstants",
        "audio_preset",
        "image_preset",
        "point_preset",
        "video_preset",
    },
    "onepath.merging.reparameterization": {
        "CrossModalReparameterization",
        "Depth",
        "FoldedWeight",
        "MPTransformer",
        "MPTransformerBlock",
        "Pair",
        "PairingOptions",
        "Plan",
        "Role",
        "ScalePer",
        "Verification",
        "attach",
        "collapse_in_place",
        "collapsed_state_dict",
        "load_attached",
        "load_collapsed",
        "load_light",
        "parameter_groups",
        "plan_from_json",
        "plan_reparameterization",
        "random_inputs",
        "reparameterize",
        "save_attached",
        "save_collapsed",
        "save_light",
        "scales",
        "set_training_mode",
        "verify",
    },
    "onepath.merging.weight_space": {
        "Finding",
        "MergedWeights",
        "ScopeRule",
        "TensorReport",
        "WeightMergeMethod",
        "lint_state_dict",
        "merge_state_dicts",
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
    "onepath.training": {
        "Batch",
        "Dataset",
        "EpochRecord",
        "History",
        "NonFiniteError",
        "OverlapResult",
        "OverlapSettings",
        "Rows",
        "Splits",
        "SurvivalTarget",
        "SweepPlan",
        "SweepResult",
        "Target",
        "TrainerSettings",
        "TrainingError",
        "UndefinedMetricError",
        "evaluate",
        "fit",
        "measure_overlap",
        "only_modality",
        "predictions",
        "reproducible",
        "rows_at",
        "rows_from_tensors",
        "run_sweep",
        "showing",
        "split_rows",
        "survival_target",
        "sweep_from_file",
        "time_bin_edges",
    },
}

PLUGINS = {
    "onepath.modalities": ["audio", "image", "point_cloud", "tabular", "text", "video"],
    "onepath.merge_methods": ["harmonic", "mean", "product", "sum"],
    "onepath.weight_merges": ["dare_linear", "dare_ties", "linear", "slerp", "task_arithmetic", "ties"],
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
