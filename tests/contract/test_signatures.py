"""Signatures of bundles, held against what openssl signs and RFC 8032 publishes."""

import base64
import json
import stat
import sys

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from onepath.contract.bundle import MANIFEST, SIGNATURE, open_bundle
from onepath.contract.digests import canonical_json
from onepath.contract.errors import BundleIntegrityError, MissingExtraError
from onepath.contract.keys import KeyFileError, is_signed_by, public_keys, signed_by, write_new_key
from onepath.contract.signatures import read_signature, require_signature, sign_bundle
from onepath.contract.writing import amend_bundle
from tests.contract import small_bundle

# openssl genpkey -algorithm ed25519; openssl pkey -pubout
PRIVATE = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIMufyUefASGHpmRi5FFuQVpOYxiPipIENFCi4Eo6yhdm
-----END PRIVATE KEY-----
"""
PUBLIC = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEADOYHUx9mLFeGe+xjETVug5+fINaLIISXQT93feNpy+g=
-----END PUBLIC KEY-----
"""
# openssl pkey -aes256 -passout pass:secret
ENCRYPTED = b"""-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgiE3xGMPUYdQICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAWgi5HOEEA0wbFlvncjZcAEQM+N
XWLEh5jpewSUGeqtHVtlmkk+mvqkYcQFp5dU/jjdV+1cnje7mDvURlet5FTPi0Ro
7PhJJ9JRSTsSRMlyqAE=
-----END ENCRYPTED PRIVATE KEY-----
"""
# openssl pkey -pubout -outform DER | tail -c 32 | sha256sum
KEY_ID = "c38b3b52e653395d20e957ff2c26b93bbba04ff0ab50e6971ab0972870b7119b"
# openssl pkeyutl -sign -rawin of "onepath bundle signature, version 1\n" and the SHA-256 of "{}\n" as a line
OPENSSL_SIGNATURE = "8xCZKN3ztChc3iJQqZlrzx9IHzo/9L2J8pd/D5k8J4gCkygFviPC3Q8+7YW6jmRSWDaaVAuGoTvqu44n8ZF5Dg=="
X25519 = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VuAyEA0hQyspRx4dvw8ghb1Ct7jfSjeyh8Nqz2dIHiCU85YkU=
-----END PUBLIC KEY-----
"""
# RFC 8032, section 7.1, test 2
RFC_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def pem(kind, der):
    return f"-----BEGIN {kind}-----\n{base64.b64encode(der).decode()}\n-----END {kind}-----\n".encode()


@pytest.fixture
def path(tmp_path):
    return small_bundle.write(tmp_path / "small")


@pytest.fixture
def keys(tmp_path):
    """A folder with openssl's key pair."""
    folder = tmp_path / "keys"
    folder.mkdir()
    (folder / "private.key").write_bytes(PRIVATE)
    (folder / "public.pem").write_bytes(PUBLIC)
    return folder


@pytest.fixture
def signed(path, keys):
    sign_bundle(path, keys / "private.key")
    return path


def refusal(path, keys):
    with pytest.raises(BundleIntegrityError) as refused:
        require_signature(path, keys / "public.pem" if keys.is_dir() else keys)
    return str(refused.value)


def change(path, **fields):
    raw = json.loads((path / SIGNATURE).read_text()) | fields
    (path / SIGNATURE).write_bytes(canonical_json(raw))


def test_a_signed_bundle_opens_and_its_signer_is_told(signed, keys):
    bundle = open_bundle(signed)
    signer = require_signature(bundle, keys / "public.pem")
    assert (signer.id, signer.path) == (KEY_ID, keys / "public.pem")


def test_the_signature_is_of_the_manifests_digest_after_words_of_its_own(signed):
    raw = json.loads((signed / SIGNATURE).read_text())
    assert set(raw) == {"version", "algorithm", "key_id", "signature"}
    assert (raw["version"], raw["algorithm"], raw["key_id"]) == (1, "ed25519", KEY_ID)
    digest = (signed / "manifest.sha256").read_text().split()[0]
    message = f"onepath bundle signature, version 1\n{digest}\n".encode()
    load_pem_public_key(PUBLIC).verify(base64.b64decode(raw["signature"]), message)


def test_what_openssl_signs_is_accepted(tmp_path, keys):
    (tmp_path / MANIFEST).write_bytes(b"{}\n")
    signature = {"version": 1, "algorithm": "ed25519", "key_id": KEY_ID, "signature": OPENSSL_SIGNATURE}
    (tmp_path / SIGNATURE).write_text(json.dumps(signature))
    assert require_signature(tmp_path, keys / "public.pem").id == KEY_ID
    (tmp_path / MANIFEST).write_bytes(b"{}")
    assert "is not one of this manifest" in refusal(tmp_path, keys)


def test_keys_sign_as_the_standard_says(tmp_path):
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    private.write_bytes(pem("PRIVATE KEY", bytes.fromhex("302e020100300506032b657004220420") + RFC_SEED))
    public.write_bytes(pem("PUBLIC KEY", bytes.fromhex("302a300506032b6570032100") + RFC_PUBLIC))
    assert signed_by(private, b"\x72")[1] == RFC_SIGNATURE
    (key,) = public_keys(public)
    assert is_signed_by(key, RFC_SIGNATURE, b"\x72")
    assert not is_signed_by(key, RFC_SIGNATURE, b"\x73")
    assert not is_signed_by(key, bytes(64), b"\x72")


def test_an_unsigned_bundle_opens_and_is_refused_where_a_signature_is_required(path, keys):
    open_bundle(path)
    assert "the bundle is not signed" in refusal(path, keys)


def test_a_signature_by_another_key_is_refused_and_both_are_named(signed, tmp_path):
    other = write_new_key(tmp_path / "other.pem")
    assert f"is by the key {KEY_ID[:12]}, which is none of those given ({other} is" in refusal(signed, other)


def test_a_claimed_key_that_did_not_sign_is_refused(signed, tmp_path):
    other = write_new_key(tmp_path / "other.pem")
    change(signed, key_id=public_keys(other)[0].id)
    assert "is not one of this manifest" in refusal(signed, other)


def test_a_changed_bundle_loses_its_signature_and_the_old_one_does_not_fit(signed, keys):
    old = (signed / SIGNATURE).read_bytes()
    amend_bundle(signed, {"reports/a.json": b"{}"}, lambda manifest: manifest)
    assert "the bundle is not signed" in refusal(signed, keys)
    (signed / SIGNATURE).write_bytes(old)
    open_bundle(signed)
    assert "is not one of this manifest" in refusal(signed, keys)


def test_a_manifest_that_changed_after_the_bundle_was_opened_is_refused(signed, keys):
    bundle = open_bundle(signed)
    (signed / MANIFEST).write_bytes(b"{}")
    with pytest.raises(BundleIntegrityError, match="was changed since the bundle was opened"):
        require_signature(bundle, keys / "public.pem")


def test_a_signature_of_the_bare_digest_is_none_of_the_bundle(signed, keys):
    bare = load_pem_private_key(PRIVATE, None).sign((signed / "manifest.sha256").read_bytes()[:64])
    change(signed, signature=base64.b64encode(bare).decode())
    assert "is not one of this manifest" in refusal(signed, keys)


@pytest.mark.parametrize("algorithm", ["none", "rsa", "ED25519", ""])
def test_another_algorithm_is_refused(signed, keys, algorithm):
    change(signed, algorithm=algorithm)
    assert f"is of {algorithm!r} and not of ed25519" in refusal(signed, keys)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"null", b"\xff", b'{"version": 2}', b"x" * 20_000, b'{"algorithm": "none", "algorithm": "ed25519"}'],
)
def test_what_is_no_signature_does_not_keep_a_bundle_from_opening_and_is_refused_when_checked(signed, keys, data):
    (signed / SIGNATURE).write_bytes(data)
    open_bundle(signed)
    assert "is not a signature" in refusal(signed, keys)


@pytest.mark.parametrize("field", [{"signature": "?"}, {"signature": ""}, {"key_id": "12"}, {"comment": "trust me"}])
def test_a_field_that_is_none_of_a_signature_is_refused(signed, keys, field):
    change(signed, **field)
    assert "is not " in refusal(signed, keys)


def test_a_signature_that_is_a_link_is_refused(signed, keys, tmp_path):
    (signed / SIGNATURE).rename(tmp_path / "elsewhere")
    (signed / SIGNATURE).symlink_to(tmp_path / "elsewhere")
    assert "is not a signature" in refusal(signed, keys)
    with pytest.raises(BundleIntegrityError, match="symbolic link"):
        open_bundle(signed)


def test_one_of_the_keys_of_a_folder_is_enough(signed, keys):
    write_new_key(keys / "release.key")
    (keys / "release.pub.pem").rename(keys / "a.pem")
    assert require_signature(open_bundle(signed), keys).path == keys / "public.pem"


def test_a_private_key_beside_its_public_one_is_none_of_a_folders_keys(signed, keys, tmp_path):
    write_new_key(keys / "release.pem", passphrase=b"mine")
    assert {key.path.name for key in public_keys(keys)} == {"public.pem", "release.pub.pem"}
    assert require_signature(open_bundle(signed), keys).path == keys / "public.pem"
    (tmp_path / "private").mkdir()
    write_new_key(tmp_path / "private/a.pem").unlink()
    with pytest.raises(KeyFileError, match="holds no"):
        public_keys(tmp_path / "private")


def test_a_broken_bundle_is_not_signed(path, keys):
    (path / "probes.json").write_bytes(b"{}")
    with pytest.raises(BundleIntegrityError):
        sign_bundle(path, keys / "private.key")
    assert read_signature(path) is None


def test_signing_again_replaces_the_signature_and_leaves_nothing_else(signed, keys, tmp_path):
    write_new_key(tmp_path / "new.pem")
    sign_bundle(signed, tmp_path / "new.pem")
    assert require_signature(signed, tmp_path / "new.pub.pem").path == tmp_path / "new.pub.pem"
    assert {file.name for file in signed.parent.iterdir()} == {"small", "keys", "new.pem", "new.pub.pem"}


def test_a_new_private_key_is_for_its_owners_eyes_and_never_replaces_one(tmp_path):
    write_new_key(tmp_path / "release.pem")
    assert stat.S_IMODE((tmp_path / "release.pem").stat().st_mode) == 0o600
    before = (tmp_path / "release.pem").read_bytes()
    with pytest.raises(KeyFileError, match="it is there already"):
        write_new_key(tmp_path / "release.pem")
    (tmp_path / "release.pem").unlink()
    with pytest.raises(KeyFileError, match=r"release\.pub\.pem: it is there already"):
        write_new_key(tmp_path / "release.pem")
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_an_encrypted_key_signs_with_its_passphrase_alone(path, tmp_path, keys):
    (tmp_path / "encrypted.pem").write_bytes(ENCRYPTED)
    sign_bundle(path, tmp_path / "encrypted.pem", passphrase=b"secret")
    assert require_signature(path, keys / "public.pem").id == KEY_ID
    for wrong in (None, b"wrong"):
        with pytest.raises(KeyFileError):
            sign_bundle(path, tmp_path / "encrypted.pem", passphrase=wrong)
    write_new_key(tmp_path / "own.pem", passphrase=b"mine")
    assert (tmp_path / "own.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


@pytest.mark.parametrize("data", [PRIVATE, X25519, b"", b"-----BEGIN PUBLIC KEY-----\n", b"x" * 20_000])
def test_what_is_no_public_key_of_the_kind_is_refused(signed, tmp_path, data):
    (tmp_path / "key.pem").write_bytes(data)
    with pytest.raises(KeyFileError, match=r"key\.pem"):
        require_signature(signed, tmp_path / "key.pem")


def test_keys_that_are_not_there_are_told(signed, tmp_path):
    with pytest.raises(KeyFileError, match="cannot be read"):
        require_signature(signed, tmp_path / "nowhere.pem")
    with pytest.raises(KeyFileError, match=r"holds no \*\.pem file"):
        require_signature(signed, signed)
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_new_key(tmp_path / "nowhere" / "key.pem")


def test_without_cryptography_the_extra_is_named(signed, keys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives", None)
    with pytest.raises(MissingExtraError, match=r'pip install "onepath\[sign\]"'):
        require_signature(signed, keys / "public.pem")
