import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from onepath.contract.manifest import Manifest
from onepath.contract.presence import pattern_name, patterns
from onepath.contract.probes import Probe, probes_from_file
from onepath.server import ServerSettings, start_server

PROJECT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("onepath")
RELEASED = PROJECT / "model_repository"
FREE_PORTS = ServerSettings(grpc_port=None, http_port=None, metrics_port=None)


@dataclass(frozen=True)
class Released:
    """The released digits pipeline: what it says of itself, and the rows that it carries."""

    manifest: Manifest
    rows: tuple[Probe, ...]

    def rows_of(self, pattern: tuple[str, ...]) -> list[dict[str, bytes]]:
        return [dict(row.payloads) for row in self.rows if set(row.payloads) == set(pattern)]

    @property
    def whole_rows(self) -> list[dict[str, bytes]]:
        return self.rows_of(self.manifest.modality_names)


@pytest.fixture(scope="session")
def released():
    folder = RELEASED / "digits" / "1"
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    return Released(manifest, probes_from_file(folder / "probes.json").rows)


@pytest.fixture(scope="session")
def server():
    """A real server on the tracked repository, straight from the checkout."""
    with start_server(RELEASED, FREE_PORTS) as running:
        yield running


@pytest.fixture
def repository_copy(tmp_path):
    """A copy of the released repository that a test may damage."""
    return Path(shutil.copytree(RELEASED, tmp_path / "model_repository"))


PATTERNS = patterns(("image", "audio", "text"))
PATTERN_IDS = [pattern_name(pattern) for pattern in PATTERNS]
