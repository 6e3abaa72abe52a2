import re
from pathlib import Path

import onnx
import onnx.parser
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.engine.container import DEFAULT_RELEASE
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.recipe.targets import target_problems
from onepath.export.targets import (
    DEFAULT_TARGETS,
    check_graph,
    known_targets,
    profiles,
    targets_from_names,
    versions_for,
)
from onepath.export.targets.profiles import known_releases

OLD, NEW = targets_from_names(["triton-24.10"]), targets_from_names(["triton-26.09"])


def graph(tmp_path, body="y = Relu(x)", opsets='"": 20', ir_version=10) -> OnnxFile:
    path = tmp_path / "model.onnx"
    text = f"<ir_version: {ir_version}, opset_import: [{opsets}]> g (float[n] x) => (float[n] y) {{ {body} }}"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return OnnxFile(path)


@pytest.mark.parametrize(
    ("name", "onnxruntime", "opset", "ir_version"),
    [
        ("triton-24.05", "1.18.0", 21, 10),
        ("triton-24.10", "1.19.2", 21, 10),
        ("triton-25.10", "1.23.1", 23, 11),
        ("triton-26.06", "1.24.4", 23, 11),
        ("triton-26.09", "1.30.0", 26, 13),
        ("embedded", "1.20.0", 21, 10),
    ],
)
def test_a_profile_says_what_is_documented_of_its_server(name, onnxruntime, opset, ir_version):
    (target,) = targets_from_names([name])
    assert (target.onnxruntime, target.max_opset, target.max_ir_version) == (onnxruntime, opset, ir_version)


def test_every_profile_names_its_sources_and_newer_releases_read_no_less():
    releases = [target for name, target in sorted(known_targets().items()) if name.startswith("triton-")]
    assert all(target.sources for target in known_targets().values())
    assert [target.max_opset for target in releases] == sorted(target.max_opset for target in releases)
    assert [target.max_ir_version for target in releases] == sorted(target.max_ir_version for target in releases)


def test_every_month_from_24_05_to_26_09_has_a_profile():
    months = [f"{year}.{month:02}" for year in (24, 25, 26) for month in range(1, 13)]
    assert [target.release for target in known_releases()] == months[months.index("24.05") : months.index("26.09") + 1]


def test_tensorrt_is_documented_or_its_absence_is_explained_and_newer_releases_have_no_older_one():
    folder = Path(profiles.__file__).parent / "profiles"
    known = [target.tensorrt for target in known_releases() if target.tensorrt]
    assert known == sorted(known, key=lambda version: [int(part) for part in version.split(".")][:2])
    for target in known_releases():
        explained = "# TensorRT: no public document" in (folder / f"{target.name}.yaml").read_text()
        assert explained is (target.tensorrt is None), target.name


def test_the_default_targets_hold_the_servers_of_this_project():
    dockerfile = Path(profiles.__file__).parents[3].joinpath("Dockerfile").read_text()
    release = re.search(r"^ARG TRITON=(\d\d\.\d\d)-py3$", dockerfile, re.M)[1]
    assert f"triton-{release}" in DEFAULT_TARGETS
    assert "embedded" in DEFAULT_TARGETS
    assert release == DEFAULT_RELEASE
    assert targets_from_names([f"triton-{release}"])[0].container.endswith(f":{release}-py3")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("triton-26.10", r"choose triton-26\.09: a newer release reads what an older one reads"),
        ("triton-31.01", r"choose triton-26\.09"),
        ("triton-24.04", r"choose triton-24\.05 or a newer one, since nothing is known of older ones"),
        ("triton-25.13", r"did you mean 'triton-25\.1.'.*choose one that is known"),
        ("torchserve", r"known are embedded and triton-24\.05 to triton-26\.09"),
    ],
)
def test_a_name_without_a_profile_is_told_what_to_choose(name, told):
    with pytest.raises(UnsupportedModuleError, match=told):
        targets_from_names([name])


def test_of_a_release_nothing_but_the_choice_is_advised():
    with pytest.raises(UnsupportedModuleError, match=r"choose triton-24\.05") as refused:
        targets_from_names(["triton-24.04"])
    assert "did you mean" not in str(refused.value)


def test_a_release_between_two_profiles_is_told_to_take_the_older_one(monkeypatch):
    known = {name: target for name, target in known_targets().items() if name != "triton-25.05"}
    monkeypatch.setattr(profiles, "known_targets", lambda: known)
    with pytest.raises(UnsupportedModuleError, match=r"choose triton-25\.04: a newer release reads"):
        targets_from_names(["triton-25.05"])


def test_an_unknown_target_is_told_with_the_known_and_the_nearest():
    with pytest.raises(UnsupportedModuleError, match=r"did you mean 'triton-24\.10'.*triton-26\.09"):
        targets_from_names(["embedded", "triton-2410"])


def test_the_default_targets_get_operator_set_20_and_file_format_10():
    assert versions_for(targets_from_names(DEFAULT_TARGETS)) == (20, 10)


def test_what_is_asked_for_is_kept_where_every_target_reads_it():
    assert versions_for(NEW, opset=23) == (23, 11)
    assert versions_for((*OLD, *NEW), opset=21) == (21, 10)
    assert versions_for(OLD, opset=18, ir_version=8) == (18, 8)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"opset": 23}, r"opset 23: triton-24\.10 \(ONNX Runtime 1\.19\.2\) reads at most 21; choose opset: 21"),
        ({"ir_version": 11}, r"ir_version 11: triton-24\.10 .* reads at most 10; choose ir_version: 10"),
        ({"opset": 21, "ir_version": 9}, r"operator set 21 is of file format 10; choose ir_version: 10"),
        ({"opset": 17}, r"torch writes none below 18"),
    ],
)
def test_versions_that_do_not_fit_are_refused_with_the_target_and_what_to_choose(asked, told):
    with pytest.raises(UnsupportedModuleError, match=told):
        versions_for((*NEW, *OLD), **asked)


def test_a_graph_that_the_target_reads_passes(tmp_path):
    check_graph(graph(tmp_path), OLD)
    check_graph(graph(tmp_path, opsets='"": 23', ir_version=11), NEW)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ({"opsets": '"": 23', "ir_version": 10}, r"opset 23: triton-24\.10"),
        ({"ir_version": 11}, r"ir_version 11: triton-24\.10"),
        (
            {"opsets": '"": 20, "my.own": 1', "body": "y = my.own.Thing(x)"},
            r"domain 'my\.own' is not known .*triton-24",
        ),
        ({"opsets": '"": 20, "com.microsoft": 2', "body": "y = com.microsoft.Gelu(x)"}, r"version 2 of domain"),
        ({"opsets": '"": 20, "com.microsoft": 1', "body": "y = com.microsoft.EngramGate(x)"}, r"EngramGate.*triton-24"),
    ],
)
def test_a_finished_graph_that_a_target_could_not_load_is_refused(tmp_path, made, told):
    with pytest.raises(UnsupportedModuleError, match=told):
        check_graph(graph(tmp_path, **made), OLD)


def test_an_operator_that_every_onnx_runtime_has_passes(tmp_path):
    check_graph(graph(tmp_path, opsets='"": 20, "com.microsoft": 1', body="y = com.microsoft.Gelu(x)"), OLD)


def test_an_unknown_operator_inside_a_branch_is_found(tmp_path):
    made = graph(tmp_path, opsets='"": 20, "com.microsoft": 1')
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["": 20, "com.microsoft": 1]>
        g (bool c, float[n] x) => (float[n] y) {
            y = If (c) <then_branch = t () => (float[n] a) { a = com.microsoft.EngramGate(x) },
                        else_branch = e () => (float[n] b) { b = Relu(x) }>
        }""")
    made.path.write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedModuleError, match="EngramGate"):
        check_graph(made, OLD)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"opset": 23, "ir_version": None}, "export.opset"),
        ({"opset": 23, "ir_version": 11}, "export.opset"),
        ({"opset": 20, "ir_version": 11}, "export.ir_version"),
        ({"opset": None, "ir_version": 11}, "export.ir_version"),
    ],
)
def test_the_problem_of_a_recipe_is_told_at_the_field_that_has_it(asked, path):
    ((place, _),) = target_problems(["triton-24.10"], **asked)
    assert place == path
