"""Writing and amending a bundle: staged beside its place, re-opened and checked there, then renamed into place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from onepath.contract.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, digest_line, open_bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes, sha256_from_file
from onepath.contract.errors import BundleIntegrityError
from onepath.contract.manifest import FileEntry, Manifest
from onepath.contract.publication import locked, publish_folder, staging_folder, write_tree

Content = bytes | Path
"""What a file of a bundle holds: bytes, or a copy of another file."""


def write_bundle(
    path: Path, files: Mapping[str, Content], manifest_from_files: Callable[[Mapping[str, FileEntry]], Manifest]
) -> Bundle:
    """Return the bundle written to a folder, replacing a bundle that was there only once the new one is whole.

    Others that write, amend or sign a bundle beside it wait meanwhile.

    Args:
        path: the folder; its parent is made where missing.
        files: relative POSIX path to content.
        manifest_from_files: makes the manifest, given the files' sizes and digests.

    Raises:
        BundleIntegrityError: what was written does not pass its own check.
    """
    check_place(path)
    with locked(path.parent):
        return _published(path, files, manifest_from_files(_entries(files)))


def _published(path: Path, files: Mapping[str, Content], changed: Manifest) -> Bundle:
    """Return a bundle that was staged, checked and put in its place; the lock of its parent is held."""
    with staging_folder(path.parent) as staging:
        staged = staging / path.name
        manifest = canonical_json(changed.model_dump(mode="json"))
        digest = digest_line(sha256_from_bytes(manifest), MANIFEST).encode()
        write_tree(staged, {**files, MANIFEST: manifest, MANIFEST_DIGEST: digest})
        open_bundle(staged)
        publish_folder(staged, path)
    return open_bundle(path)


def amend_bundle(path: Path, files: Mapping[str, Content], change: Callable[[Manifest], Manifest]) -> Bundle:
    """Return a bundle to which files were added, or in which some were replaced, with the manifest that fits them.

    It is another bundle with another id; a signature of the old one is not kept. The old one stays until the new one is
    whole, and no other amendment is made at the same time.

    Args:
        path: the bundle's folder, or a link to one, which is followed.
        files: relative POSIX path to content, of those that are new or replaced.
        change: makes the new manifest of the old one; sizes and digests are filled in afterwards, and files that no
            field of the new manifest needs have to be listed in its `files` to be kept.

    Raises:
        BundleIntegrityError: the bundle is not intact, or the amended one would not be.
    """
    path = path.resolve()
    with locked(path.parent):
        old = open_bundle(path)
        listed = old.manifest.files | _entries(files)
        changed = change(old.manifest.model_copy(update={"files": listed}))
        contents = {**{name: path / name for name in changed.files}, **files}
        entries = {name: listed[name] for name in contents}
        return _published(path, contents, changed.model_copy(update={"files": entries}))


def _entries(files: Mapping[str, Content]) -> dict[str, FileEntry]:
    return {name: _entry(content) for name, content in files.items()}


def _entry(content: Content) -> FileEntry:
    if isinstance(content, Path):
        return FileEntry(sha256=sha256_from_file(content), size_bytes=content.stat().st_size)
    return FileEntry(sha256=sha256_from_bytes(content), size_bytes=len(content))


def check_place(path: Path) -> None:
    """Make the parent of a bundle's folder, and check that nothing but an older bundle would be replaced.

    Raises:
        BundleIntegrityError: the parent cannot be made, or something else is there, which would be lost.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleIntegrityError(
            str(path.parent), f"cannot be made a folder ({error.strerror})", advice="choose another --output"
        ) from error
    if not path.exists() and not path.is_symlink():
        return
    is_bundle = all((path / name).is_file() for name in (MANIFEST, MANIFEST_DIGEST))
    if path.is_symlink() or not path.is_dir() or not (is_bundle or not any(path.iterdir())):
        raise BundleIntegrityError(
            str(path), "is there and is not a bundle", advice="move it away, or choose another --output"
        )
