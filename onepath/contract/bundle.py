"""Opening a bundle: a folder is one only if every file and every proof is what the manifest says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from onepath.contract.contents import check_contents
from onepath.contract.digests import canonical_json, joined_digest, sha256_from_bytes, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.file_names import colliding_names, name_problem
from onepath.contract.manifest import FileEntry, Manifest
from onepath.contract.migration import NewerSchemaError, migrated
from onepath.contract.probes import ProbeSet, probes_from_file
from onepath.contract.proofs import MAIN_LINE, ORDER, ProofStep, broken_link
from onepath.contract.strict_json import json_from_bytes

MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
SIGNATURE = "manifest.sig"
SHORT_ID = 12

_MOST_MANIFEST_BYTES = 16 << 20
_MOST_SHOWN = 200  # characters of a name that may not be one


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
        """The golden probes.

        Raises:
            BundleIntegrityError: the file holds none, or they are of another output than the task's own.
        """
        name, output = self.manifest.probes, self.manifest.outputs[0].name
        try:
            probes = probes_from_file(self.path / name)
        except ValueError as error:
            problem = f"does not hold probes ({' '.join(str(error).split())[:200]})"
            raise BundleIntegrityError(name, problem, root=str(self.path)) from error
        if probes.output != output:
            raise BundleIntegrityError(name, f"is of {probes.output!r} and not of {output!r}", root=str(self.path))
        return probes


def open_bundle(path: Path) -> Bundle:
    """Return the bundle in a folder, after checking the manifest, every file's digest and kind, and the proof chain.

    A bundle of an older schema is migrated; its id stays the digest of the manifest on the disk. A signature may lie
    beside the manifest, and is neither asked for nor believed here: see `onepath.contract.signatures`.

    Args:
        path: a folder that `onepath build` wrote, or a link to one, which is followed once: no file of a bundle may be
            a link.

    Raises:
        BundleIntegrityError: a file is missing, extra, changed, a link, outside the folder, or of a kind that can run
            code or read other files; the manifest is not valid or from a newer schema; or a proof does not lead from
            its predecessor's result.
    """
    path = path.resolve() if path.is_symlink() else path
    manifest_bytes = _manifest_bytes(path)
    manifest = _manifest_from_bytes(manifest_bytes, path)
    check_files(path, manifest.files, besides=(MANIFEST, MANIFEST_DIGEST, SIGNATURE))
    check_chain(manifest, path)
    check_contents(manifest, path)
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
    besides = set(besides)
    _check_names(files, besides, root)
    found = _found(root)
    for name, path in found.items():
        if path.is_symlink():
            raise BundleIntegrityError(
                name, "is a symbolic link", root=str(root), advice="replace it by the file itself"
            )
        if not path.is_dir() and not path.is_file():
            raise BundleIntegrityError(name, "is neither a file nor a folder", root=str(root), advice="remove it")
    present = {name for name, path in found.items() if path.is_file()}
    for name in sorted(present - set(files) - besides):
        raise BundleIntegrityError(name, "is not listed in the manifest", root=str(root), advice="remove it")
    for name, entry in sorted(files.items()):
        if name not in present:
            raise BundleIntegrityError(name, "is missing", root=str(root))
        _check_file(root / name, name, entry, root)
    for name, path in found.items():
        if path.is_dir() and not any(path.iterdir()):
            raise BundleIntegrityError(name, "is an empty folder", root=str(root), advice="remove it")


def _check_names(files: Iterable[str], besides: Iterable[str], root: Path) -> None:
    for name in sorted(files):
        problem = "is listed as a file of its own manifest" if name in besides else name_problem(name)
        if problem:
            raise BundleIntegrityError(ascii(name)[1:-1][:_MOST_SHOWN], problem, root=str(root))
    collision = colliding_names(sorted({*files, *besides}))
    if collision:
        problem = f"is the same name as {collision[0]} where upper and lower case are one"
        raise BundleIntegrityError(collision[1], problem, root=str(root))


def _found(root: Path) -> dict[str, Path]:
    """Return everything under a folder by its path relative to it, sorted; links are not followed."""
    found, waiting = dict[str, Path](), [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise BundleIntegrityError(str(folder), problem, advice="read it as its owner") from error
        for entry in inside:
            path = folder / entry.name
            name = os.fsencode(path.relative_to(root).as_posix()).decode(errors="backslashreplace")
            found[name] = path
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
    return dict(sorted(found.items()))


def check_chain(manifest: Manifest, root: Path) -> None:
    """Check that the proofs are within tolerance and lead from one to the next, to the weights and to every graph.

    Raises:
        BundleIntegrityError: naming the broken link.
    """
    broken = broken_link(manifest.proofs)
    if broken:
        proof = manifest.proofs[broken[0]]
        link = f"{MANIFEST} (proof {broken[0] + 1}, {proof.step} of {proof.subject})"
        raise BundleIntegrityError(link, broken[1], root=str(root))
    _check_graphs_differ(manifest, root)
    for names, steps in _proved_files(manifest):
        digest = joined_digest(manifest.files[name].sha256 for name in names)
        if digest not in [proof.writes for proof in steps]:
            problem = f"is not what the proof step {' or '.join(proof.step for proof in steps) or 'of it'} wrote"
            raise BundleIntegrityError(names[0], problem, root=str(root))


def _check_graphs_differ(manifest: Manifest, root: Path) -> None:
    """Check that no proof could be of two graphs."""
    known: dict[str, str] = {}
    for graph in manifest.graphs:
        digest = joined_digest(manifest.files[name].sha256 for name in graph.files)
        if known.setdefault(digest, graph.file) != graph.file:
            raise BundleIntegrityError(graph.file, f"is the same graph as {known[digest]}", root=str(root))


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
        if (path / name).stat().st_size > _MOST_MANIFEST_BYTES:
            raise BundleIntegrityError(name, f"has more than {_MOST_MANIFEST_BYTES} bytes", root=str(path))
    data = (path / MANIFEST).read_bytes()
    recorded = (path / MANIFEST_DIGEST).read_bytes()
    if recorded != digest_line(sha256_from_bytes(data), MANIFEST).encode():
        raise BundleIntegrityError(
            MANIFEST, f"was changed, or {MANIFEST_DIGEST} was: the two do not fit together", root=str(path)
        )
    return data


def _manifest_from_bytes(data: bytes, root: Path) -> Manifest:
    try:
        raw = json_from_bytes(data)
        if not isinstance(raw, dict):
            raise ValueError("it is no object")
        return Manifest.model_validate_json(canonical_json(migrated(raw)))
    except NewerSchemaError as error:
        raise BundleIntegrityError(MANIFEST, str(error), root=str(root), advice=error.advice) from error
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        first = " ".join(str(error).splitlines()[:3])
        raise BundleIntegrityError(MANIFEST, f"is not a valid manifest ({first})", root=str(root)) from error
