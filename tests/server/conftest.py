import tempfile

import pytest

from onepath.server import DeploySettings, ServerSettings, deploy, start_server
from onepath.server.names import pipeline_id
from tests.server.bundles import write_bundle

ONE_EACH = DeploySettings(precision="fp32", engine="never", preprocess_instances=1, graph_instances=1)
FREE_PORTS = ServerSettings(grpc_port=None, http_port=None, metrics_port=None)


def digits_of(bundle, settings=ONE_EACH):
    """Return the 12 digits in the names of a bundle's inner models, for settings in full."""
    return pipeline_id(bundle.id, settings.model_dump(mode="json"))


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory):
    """Logs of servers that fail on purpose go where pytest cleans up."""
    folder = tmp_path_factory.mktemp("temporary")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", None)
        yield


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def other_bundle(tmp_path_factory):
    """Another bundle for the same front door."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny", image_weight=(3.0, 2.0, 1.0))


@pytest.fixture(scope="session")
def server(bundle, tmp_path_factory):
    """One running server for every test that only asks it things."""
    repository = tmp_path_factory.mktemp("served") / "repository"
    deploy(bundle, repository, ONE_EACH)
    with start_server(repository, FREE_PORTS) as running:
        running.repository = repository
        yield running


@pytest.fixture
def repository(bundle, tmp_path):
    """A repository that a test may damage."""
    deploy(bundle, tmp_path / "repository", ONE_EACH)
    return tmp_path / "repository"
