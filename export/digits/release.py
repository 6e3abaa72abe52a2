"""Refresh `model_repository/`: the digits bundle, deployed, probed by a real server, and only then put in its place."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from onepath.cli.progress import shown_progress
from onepath.contract.bundle import Bundle, open_bundle
from onepath.contract.publication import publish_folder, staging_folder
from onepath.export.build import build
from onepath.server import DeploySettings, ServerSettings, deploy, start_server

PROJECT = Path(__file__).resolve().parents[2]
RELEASED = PROJECT / "model_repository"
SETTINGS = DeploySettings(preprocess_instances=2, graph_instances=2)
FREE_PORTS = ServerSettings(grpc_port=None, http_port=None, metrics_port=None)
MOST_BYTES = 4_000_000


def digits_bundle(built: Path | None) -> Bundle:
    """Return the bundle to release: one that was built before, or a new one."""
    if built is not None:
        return open_bundle(built)
    with shown_progress() as progress:
        bundles = build(Path(__file__).with_name("recipe.yaml"), PROJECT / "build", progress)
    return next(bundle for bundle in bundles if bundle.manifest.name == "digits")


def release(bundle: Bundle) -> None:
    """Deploy the bundle to a fresh repository, let a server answer its probes, and replace the released one."""
    with staging_folder(_made(PROJECT / "build")) as staging:
        deploy(bundle, staging / "probed", SETTINGS)
        with start_server(staging / "probed", FREE_PORTS) as server:
            (report,) = server.reports
        staged = staging / RELEASED.name
        deploy(bundle, staged, SETTINGS)  # anew: the server may have left compiled files beside the models
        size = sum(path.stat().st_size for path in staged.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise SystemExit(f"the repository would have {size} bytes; at most {MOST_BYTES} are tracked")
        publish_folder(staged, RELEASED)
    sys.stdout.write(
        f"released {bundle.manifest.name} {bundle.short_id}: {size / 1e6:.2f} MB, {report.rows} probes answered, "
        f"at most {report.max_abs_error:.1e} off\n"
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main() -> None:
    """Parse the command line and release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, help="release this bundle instead of building one")
    release(digits_bundle(parser.parse_args().bundle))


if __name__ == "__main__":
    main()
