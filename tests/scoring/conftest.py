import pytest

from tests.server.bundles import write_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    """The bundle whose scores have a closed form: see `tests.server.bundles`."""
    return write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
