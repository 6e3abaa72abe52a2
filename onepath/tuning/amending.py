"""What tuning writes into a bundle, and the id that the bundle has without it."""

from __future__ import annotations

from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.manifest import Manifest
from onepath.contract.writing import Content, amend_bundle
from onepath.tuning.errors import TuningError
from onepath.tuning.report import TuningReport

REPORT, PICTURE = "tuning.json", "tuning.png"
_REPORTS = {f"reports/{REPORT}", f"reports/{PICTURE}"}


def id_without_tuning(manifest: Manifest) -> str:
    """Return the id that a bundle has without deployment settings and without tuning's reports.

    It is the bundle's own id before it is tuned for the first time, and the same one afterwards, so that a run that is
    resumed finds what was measured before.
    """
    files = {name: entry for name, entry in manifest.files.items() if name not in _REPORTS}
    plain = manifest.model_copy(update={"deployment": {}, "files": files})
    return sha256_from_bytes(canonical_json(plain.model_dump(mode="json")))


def write_choice(bundle: Bundle, report: TuningReport, picture: Path) -> Bundle:
    """Return the bundle with the chosen settings as its deployment settings, the report and the picture.

    Args:
        bundle: what was measured.
        report: what was found; it must have a choice.
        picture: the PNG of the front.

    Raises:
        TuningError: nothing was chosen, or another bundle was put in this one's place meanwhile.
        BundleIntegrityError: the bundle is not intact.
    """
    if report.chosen is None:
        raise TuningError("no settings keep the bounds, so that there is nothing to write")

    def change(manifest: Manifest) -> Manifest:
        if id_without_tuning(manifest) != report.context.bundle_id:
            raise TuningError(f"{bundle.path} became another bundle while it was measured; tune that one")
        return manifest.model_copy(update={"deployment": report.deployment})

    files: dict[str, Content] = {f"reports/{REPORT}": report_bytes(report), f"reports/{PICTURE}": picture}
    return amend_bundle(bundle.path, files, change)


def report_bytes(report: TuningReport) -> bytes:
    """Return the report as JSON."""
    return canonical_json(report.model_dump(mode="json"))
