"""Opening a bundle: a folder is one only if every file and every proof is what the manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from onepath.contract.digests import joined_digest, sha256_from_bytes, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import SCHEMA_VERSION, FileEntry, Manifest
from onepath.contract.probes import ProbeSet, probes_from_file
from onepath.contract.proofs import MAIN_LINE, ORDER, ProofStep, broken_link

MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
SHORT_ID = 12


@dataclass(frozen=True)
class Bundle:
    """A bundle whose integrity was checked when it was opened.

    Attributes:
        path: its folder.
        id: SHA-256 of its manifest, 64 hexadecimal digits.
        manifest: what it says of itself.
    """

    path: Path
    id: str
    manifest: Manifest

    @property
    def short_id(self) -> str:
        """The first 12 digits of the id, as used in the names of deployed models."""
        return self.id[:SHORT_ID]

    @property
    def graph_path(self) -> Path:
        """The ONNX graph."""
        return self.path / self.manifest.graph.file

    @property
    def probes(self) -> ProbeSet:
        """The golden probes."""
        return probes_from_file(self.path / self.manifest.probes)


def open_bundle(path: Path) -> Bundle:
    """Return the bundle in a folder, after checking the manifest, every file's digest and the proof chain.

    Args:
        path: a folder that `onepath build` wrote.

    Raises:
        BundleIntegrityError: a file is missing, extra, changed, a link, or outside the folder; the manifest is not
            valid or from a newer schema; or a proof does not lead from its predecessor's result.
    """
    manifest_bytes = _manifest_bytes(path)
    manifest = _manifest_from_bytes(manifest_bytes, path)
    check_files(path, manifest.files, besides=(MANIFEST, MANIFEST_DIGEST))
    check_chain(manifest, path)
    return Bundle(path=path, id=sha256_from_bytes(manifest_bytes), manifest=manifest)


def manifest_from_folder(path: Path) -> tuple[Manifest, str]:
    """Return the manifest in a folder and its digest, checked against `manifest.sha256` but not against other files.

    Raises:
        BundleIntegrityError: one of the two files is missing or they do not fit together.
    """
    data = _manifest_bytes(path)
    return _manifest_from_bytes(data, path), sha256_from_bytes(data)


def digest_line(digest: str, name: str) -> str:
    """Return a line that `sha256sum --check` reads."""
    return f"{digest}  {name}\n"


def check_files(root: Path, files: Mapping[str, FileEntry], *, besides: Iterable[str] = ()) -> None:
    """Check that a folder holds exactly these files with these digests.

    Args:
        root: the folder.
        files: relative POSIX path to size and digest.
        besides: further files that may be there, checked by other means.

    Raises:
        BundleIntegrityError: naming the first file that is wrong.
    """
    for name in files:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise BundleIntegrityError(name, "points outside the folder", root=str(root))
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*"))}
    for name, path in found.items():
        if path.is_symlink():
            raise BundleIntegrityError(
                name, "is a symbolic link", root=str(root), advice="replace it by the file itself"
            )
        if not path.is_dir() and not path.is_file():
            raise BundleIntegrityError(name, "is neither a file nor a folder", root=str(root), advice="remove it")
    present = {name for name, path in found.items() if path.is_file()}
    for name in sorted(present - set(files) - set(besides)):
        raise BundleIntegrityError(name, "is not listed in the manifest", root=str(root), advice="remove it")
    for name, entry in sorted(files.items()):
        if name not in present:
            raise BundleIntegrityError(name, "is missing", root=str(root))
        _check_file(root / name, name, entry, root)
    for name, path in found.items():
        if path.is_dir() and not any(path.iterdir()):
            raise BundleIntegrityError(name, "is an empty folder", root=str(root), advice="remove it")


def check_chain(manifest: Manifest, root: Path) -> None:
    """Check that the proofs are within tolerance and lead from one to the next, to the weights and to the graph.

    Raises:
        BundleIntegrityError: naming the broken link.
    """
    broken = broken_link(manifest.proofs)
    if broken:
        proof = manifest.proofs[broken[0]]
        link = f"{MANIFEST} (proof {broken[0] + 1}, {proof.step} of {proof.subject})"
        raise BundleIntegrityError(link, broken[1], root=str(root))
    for names, steps in _proved_files(manifest):
        digest = joined_digest(manifest.files[name].sha256 for name in names)
        if digest not in [proof.writes for proof in steps]:
            problem = f"is not what the proof step {' or '.join(proof.step for proof in steps) or 'of it'} wrote"
            raise BundleIntegrityError(names[0], problem, root=str(root))


def _proved_files(manifest: Manifest) -> Iterator[tuple[Sequence[str], Sequence[ProofStep]]]:
    """Yield files that belong together, with the steps of which one must have written them."""
    by_step = {step: [proof for proof in manifest.proofs if proof.step == step] for step in ORDER}
    yield (manifest.weights,), by_step["collapse"]
    for graph in manifest.graphs:
        last = [proof for proof in manifest.proofs if proof.step in MAIN_LINE][-1:]
        yield graph.files, last if graph.is_reference else by_step["precision"]
    for engine in manifest.engines:
        yield tuple(engine.files.values()), by_step["engine"]


def _check_file(path: Path, name: str, entry: FileEntry, root: Path) -> None:
    if path.stat().st_size != entry.size_bytes:
        raise BundleIntegrityError(
            name, f"has {path.stat().st_size} bytes instead of {entry.size_bytes}", root=str(root)
        )
    if sha256_from_file(path) != entry.sha256:
        raise BundleIntegrityError(name, "was changed: its SHA-256 is not the recorded one", root=str(root))


def _manifest_bytes(path: Path) -> bytes:
    if not path.is_dir():
        raise BundleIntegrityError(str(path), "is not a folder", advice="give the folder that `onepath build` wrote")
    for name in (MANIFEST, MANIFEST_DIGEST):
        if not (path / name).is_file():
            raise BundleIntegrityError(name, "is missing", root=str(path), advice="is this folder a bundle?")
    data = (path / MANIFEST).read_bytes()
    recorded = (path / MANIFEST_DIGEST).read_bytes()
    if recorded != digest_line(sha256_from_bytes(data), MANIFEST).encode():
        raise BundleIntegrityError(
            MANIFEST, f"was changed, or {MANIFEST_DIGEST} was: the two do not fit together", root=str(path)
        )
    return data


def _manifest_from_bytes(data: bytes, root: Path) -> Manifest:
    try:
        raw = json.loads(data)
        version = raw["schema_version"]
        if version != SCHEMA_VERSION:
            raise BundleIntegrityError(
                MANIFEST,
                f"has schema version {version}, and this onepath reads version {SCHEMA_VERSION}",
                root=str(root),
                advice="use the onepath release that wrote it, or a newer one",
            )
        return Manifest.model_validate_json(data)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()
        raise BundleIntegrityError(
            MANIFEST, f"is not a valid manifest ({' '.join(first[:3])})", root=str(root)
        ) from error
