"""Which servers load an engine: those with the version of TensorRT that built it, as their profiles say."""

import pickle

import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.engine import EngineReleaseError
from onepath.export.engine.container import (
    DEFAULT_RELEASE,
    checkout_of_package,
    docker_command,
    release_from_targets,
)
from onepath.export.engine.releases import builds_engines, check_version, engine_targets
from onepath.export.targets import DEFAULT_TARGETS, targets_from_names


def releases(*names):
    return targets_from_names([f"triton-{name}" for name in names])


@pytest.mark.parametrize(
    ("release", "builds"),
    [("24.10", False), ("25.06", False), ("25.08", True), ("26.06", True), ("25.05", False), ("25.09", True)],
)
def test_engines_are_built_for_releases_with_tensorrt_10_12_or_newer(release, builds):
    assert builds_engines(*releases(release)) is builds


def test_a_graph_for_older_releases_alone_gets_no_engine():
    told = r"triton-24\.10 has 10\.5 and triton-25\.06 has 10\.11\.0\.33, and engines are built with 10\.12 or newer"
    with pytest.raises(UnsupportedModuleError, match=rf"{told}; say with --release .*of 25\.08 or newer"):
        engine_targets(["embedded", "triton-24.10", "triton-25.06"])


def test_an_older_release_beside_a_newer_one_is_no_obstacle():
    assert [target.name for target in engine_targets(DEFAULT_TARGETS)] == ["triton-24.10", "triton-26.06"]


def test_the_release_that_is_given_counts_in_the_place_of_the_targets():
    assert engine_targets(["triton-24.10"], "26.02") == releases("26.02")
    with pytest.raises(UnsupportedModuleError, match=r"'triton-24\.10'|triton-24\.10 has 10\.5"):
        engine_targets(["triton-26.02"], "24.10")


@pytest.mark.parametrize("release", ["26.13", "26.10", ""])
def test_no_other_release_is_advised_for_one_that_is_not_known(release):
    with pytest.raises(UnsupportedModuleError, match=r"there is no profile.*25\.08 to 26\.09, or serve") as refused:
        engine_targets(["triton-26.02"], release)
    assert "reads what an older one reads" not in str(refused.value)  # of graphs that is true, and of engines it is not


class TestAVersionOfTensorRT:
    def test_that_every_target_has_needs_no_word(self):
        assert check_version("11.0.0", releases("26.06")) == ()

    @pytest.mark.parametrize("version", ["10.14.1", "10.14.1.48", "10.14.1.48.post1"])
    def test_is_compared_as_far_as_it_is_documented(self, version):
        assert check_version(version, releases("25.12", "26.01")) == ()

    @pytest.mark.parametrize("version", ["10.14.2", "10.15.1", "11.14.1"])
    def test_that_differs_in_a_digit_that_is_documented_is_another(self, version):
        with pytest.raises(EngineReleaseError, match=r"triton-25\.12 has 10\.14\.1"):
            check_version(version, releases("25.12"))

    def test_that_some_targets_have_is_told_of_the_others(self):
        old, new = check_version("11.0.0", releases("24.10", "26.06", "26.07"))
        assert "triton-24.10 has 10.5, for which no engine is built" in old
        assert "triton-26.07 has 11.1.0.106" in new
        assert "nvcr.io/nvidia/tensorrt:26.07-py3" in new

    def test_that_no_target_has_is_refused_with_the_releases_that_have_it(self):
        with pytest.raises(EngineReleaseError) as refused:
            check_version("10.14.1", releases("24.10", "26.06"))
        assert refused.value.loads == ("25.11", "25.12", "26.01")
        assert "build it in nvcr.io/nvidia/tensorrt:26.06-py3" in str(refused.value)
        assert "TensorRT 10.14.1 is that of 25.11, 25.12 and 26.01" in str(refused.value)
        assert pickle.loads(pickle.dumps(refused.value)).loads == refused.value.loads

    def test_that_no_release_has_is_told_as_such(self):
        with pytest.raises(EngineReleaseError, match=r"10\.99\.1 is that of no known release"):
            check_version("10.99.1", releases("26.06"))

    def test_may_be_that_of_a_release_whose_own_is_not_documented(self):
        (told,) = check_version("11.3.0", releases("26.09"))
        assert "not documented which TensorRT triton-26.09 has" in told

    @pytest.mark.parametrize(
        ("version", "release"), [("10.14.1", "24.06"), ("10.14.1", "25.09"), ("11.2.0", "26.09"), ("10.15.1", "24.09")]
    )
    def test_is_not_that_of_a_release_whose_neighbours_have_other_ones(self, version, release):
        with pytest.raises(
            EngineReleaseError, match=rf"triton-{release} has an undocumented TensorRT not older than 1"
        ):
            check_version(version, releases(release, "26.06"))

    @pytest.mark.parametrize("version", ["10.13.2.6", "10.13.3.9"])
    def test_may_be_anything_between_those_of_the_neighbours(self, version):
        (told,) = check_version(version, releases("25.09"))
        assert "it loads this engine only if it is" in told

    def test_that_a_target_does_not_load_is_told_with_how_to_deploy_the_graph_there(self):
        told = check_version("11.0.0", releases("24.06", "24.10", "26.06", "26.07"))
        assert len(told) == 3
        assert all("with --engine never" in each for each in told)
        assert "triton-24.06 has an undocumented TensorRT" in told[0]
        assert "no engine is built" in told[0]

    def test_is_read_up_to_what_is_no_number(self):
        assert check_version("10.15.1a2.5", releases("26.02")) == ()

    def test_is_not_held_against_a_server_that_loads_no_engines(self):
        (told,) = check_version("11.3.0", engine_targets(["embedded"]))
        assert "checked for no Triton" in told


@pytest.mark.parametrize(
    ("names", "release"),
    [
        (["embedded"], DEFAULT_RELEASE),
        (["triton-24.10", "triton-26.02", "embedded"], "26.02"),
        (["triton-25.09", "triton-24.05"], "25.09"),
    ],
)
def test_the_container_is_that_of_the_newest_target_that_loads_engines(names, release):
    assert release_from_targets(engine_targets(names)) == release


@pytest.mark.parametrize(
    ("project", "is_checkout"),
    [
        ('[project]\nname = "onepath"\nversion = "0"\n', True),
        ('[project]\nname = "another"\ndependencies = ["onepath"]\n', False),
        ('[project]\nname = "onepath-plugin"\n', False),
        (None, False),
    ],
)
def test_a_checkout_is_a_package_beside_the_projects_own_pyproject(tmp_path, project, is_checkout):
    if project is not None:
        (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    assert checkout_of_package(tmp_path / "onepath") == (tmp_path if is_checkout else None)


def test_without_a_checkout_the_container_mounts_the_bundle_alone_and_installs_by_name(tmp_path):
    line = docker_command(tmp_path / "digits", [], release="26.06")
    assert line.count(" -v ") == 1
    assert 'pip install "onepath[export]" && onepath engine /bundles/digits' in line
