"""What decides every file of a pipeline: its bundle, the probes, and the settings it is deployed with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onepath.contract.bundle import MANIFEST, Bundle
from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import Manifest
from onepath.contract.probes import ProbeSet
from onepath.contract.signatures import signature_bytes
from onepath.server.fitting import check_fit
from onepath.server.names import pipeline_id
from onepath.server.settings import DeploySettings
from onepath.server.variants import manifest_as_deployed, settings_in_full


@dataclass(frozen=True)
class Source:
    """What decides every file of a pipeline.

    Attributes:
        manifest: the bundle's, as deployed: its graph and its engines are those that these settings choose.
        manifest_bytes: its file, whose digest is the bundle's id.
        probes: the bundle's.
        settings: in full.
        signature: the file of the bundle's signature, which is passed on and not checked; None where it has none.
    """

    manifest: Manifest
    manifest_bytes: bytes
    probes: ProbeSet
    settings: DeploySettings
    signature: bytes | None = None

    @property
    def bundle_id(self) -> str:
        """The 64 digits of the bundle's id."""
        return sha256_from_bytes(self.manifest_bytes)

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """The settings as JSON holds them."""
        return self.settings.model_dump(mode="json")

    @property
    def pipeline_id(self) -> str:
        """The 12 digits in the names of the inner models."""
        return pipeline_id(self.bundle_id, self.recorded_settings)


def source_from_bundle(bundle: Bundle, settings: DeploySettings | None) -> Source:
    """Return what decides the files of a bundle's pipeline on this machine.

    Args:
        bundle: an opened bundle.
        settings: of which the fields that were set count before the bundle's own.

    Raises:
        BundleIntegrityError: the bundle's manifest changed since it was opened, its own settings are not valid, or what
            lies beside its manifest as a signature is none.
        MissingVariantError: the bundle has no such graph or engine.
        UnfitSettingsError: the graph cannot be served with these settings.
    """
    data = (bundle.path / MANIFEST).read_bytes()
    if sha256_from_bytes(data) != bundle.id:
        raise BundleIntegrityError(MANIFEST, "was changed since the bundle was opened", root=str(bundle.path))
    full = settings_in_full(bundle.manifest, settings)
    deployed = manifest_as_deployed(bundle.manifest, full)
    check_fit(deployed, full, given=settings)
    return Source(deployed, data, bundle.probes, full, signature_bytes(bundle.path))
