"""Keys, signatures and proofs that are measured again, as a person asks for them."""

import json
import stat

import pytest

from tests.contract.test_migration import rewrite
from tests.export.answered_toy import answered, copy_to


@pytest.fixture
def signed(onepath, workspace):
    """The bundle, signed by a new key in the folder."""
    assert onepath("sign", "--new-key", "release.pem").exit_code == 0
    assert onepath("sign", "tiny", "--key", "release.pem").exit_code == 0
    return workspace / "build/tiny"


def test_a_pair_of_keys_is_made_and_its_files_are_told(onepath, workspace):
    found = onepath("sign", "--new-key", "release.pem")
    assert found.exit_code == 0
    assert stat.S_IMODE((workspace / "release.pem").stat().st_mode) == 0o600
    assert (workspace / "release.pub.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert "release.pub.pem" in found.stdout


def test_a_key_is_never_replaced(onepath, workspace):
    (workspace / "release.pem").write_text("years of signatures")
    found = onepath("sign", "--new-key", "release.pem")
    assert found.exit_code == 1
    assert "it is there already" in found.stderr
    assert (workspace / "release.pem").read_text() == "years of signatures"


def test_a_signed_bundle_is_verified_by_the_public_key(onepath, signed):
    found = onepath("verify", "tiny", "--require-signature", "release.pub.pem")
    assert found.exit_code == 0
    assert "signed by release.pub.pem, the key " in found.stdout


def test_a_bundle_that_is_not_signed_or_by_another_key_is_refused(onepath, workspace, signed):
    onepath("sign", "--new-key", "other.pem")
    found = onepath("verify", "tiny", "--require-signature", "other.pub.pem")
    assert (found.exit_code, "which is none of those given" in found.stderr) == (1, True)
    (signed / "manifest.sig").unlink()
    found = onepath("verify", "tiny", "--require-signature", "release.pub.pem")
    assert (found.exit_code, "the bundle is not signed" in found.stderr) == (1, True)
    assert onepath("verify", "tiny").exit_code == 0


def test_inspect_says_who_signed_and_believes_it_only_with_the_key(onepath, signed):
    assert "not checked: give --require-signature" in " ".join(onepath("inspect", "tiny").stdout.split())
    assert "valid: by the key" in onepath("inspect", "tiny", "--require-signature", "release.pub.pem").stdout
    checked = [
        json.loads(onepath("inspect", "tiny", "--json", *options).stdout)["signature"]["checked"]
        for options in ((), ("--require-signature", "release.pub.pem"))
    ]
    assert checked == [False, True]


def test_a_passphrase_is_asked_for(onepath, workspace):
    from typer.testing import CliRunner

    from onepath.cli.app import app

    made = CliRunner().invoke(app, ["sign", "--new-key", "k.pem", "--passphrase"], input="one\none\n")
    assert made.exit_code == 0
    assert "ENCRYPTED" in (workspace / "k.pem").read_text()
    signing = ["sign", "tiny", "--key", "k.pem", "--passphrase"]
    assert CliRunner().invoke(app, signing, input="two\n").exit_code == 1
    assert CliRunner().invoke(app, signing, input="one\n").exit_code == 0
    assert onepath("sign", "tiny", "--key", "k.pem").exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [[], ["tiny"], ["--key", "k.pem"], ["tiny", "--new-key", "k.pem"], ["tiny", "--key", "k", "--new-key", "l"]],
)
def test_what_is_neither_signing_nor_making_a_key_is_wrong_usage(onepath, workspace, arguments):
    assert onepath("sign", *arguments).exit_code == 2


def test_every_proof_of_a_bundle_is_measured_again(onepath):
    found = onepath("verify", answered(), "--rerun")
    assert found.exit_code == 0
    rows = [line.split() for line in found.stdout.splitlines()]
    assert ["graphs/model.onnx", "now", "to", "what", "the", "probes", "expect", "max_abs"] in [row[:8] for row in rows]
    assert "Cannot be measured here" in found.stdout
    assert found.stdout.splitlines()[-2].startswith("measured again: 58 of the proofs' 59 comparisons hold")


def test_a_proof_that_does_not_hold_is_named(onepath, tmp_path):
    path = copy_to(tmp_path)

    def better(raw):
        for proof in raw["proofs"]:
            for measured in proof["measurements"]:
                measured["error"] = min(measured["error"], 1e-9)
        return raw

    rewrite(path, better)
    assert onepath("verify", path).exit_code == 0
    found = onepath("verify", path, "--rerun")
    assert found.exit_code == 1
    assert "refused: collapse in" in found.stderr
    assert "does not hold when it is measured again: golden probes, collapse to cast" in found.stderr


def test_a_bundle_by_hand_has_its_graph_run(onepath, workspace):
    found = onepath("verify", "tiny", "--rerun")
    assert found.exit_code == 0
    assert "the bundle holds no answers of its stages" in found.stdout


def test_a_repository_is_not_measured_again(onepath, workspace):
    found = onepath("verify", "model_repository", "--rerun")
    assert (found.exit_code, "this is a model repository" in found.stderr) == (2, True)


def test_a_deployed_pipeline_is_verified_by_the_public_key(onepath, signed):
    unsigned = onepath("verify", "model_repository", "--require-signature", "release.pub.pem")
    assert (unsigned.exit_code, "the bundle is not signed" in unsigned.stderr) == (1, True)
    assert onepath("deploy", "tiny", "--repository", "model_repository").exit_code == 0
    found = onepath("verify", "model_repository", "--require-signature", "release.pub.pem")
    assert (found.exit_code, "tiny is signed by release.pub.pem" in found.stdout) == (0, True)
    onepath("sign", "--new-key", "other.pem")
    other = onepath("verify", "model_repository", "--require-signature", "other.pub.pem")
    assert (other.exit_code, "which is none of those given" in other.stderr) == (1, True)


def test_a_deployed_signature_that_is_removed_or_changed_is_refused(onepath, signed, workspace):
    onepath("deploy", "tiny", "--repository", "model_repository")
    file = workspace / "model_repository/tiny/1/manifest.sig"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"1", b"2", 1))
    assert "manifest.sig" in onepath("verify", "model_repository").stderr
    file.unlink()
    assert "manifest.sig" in onepath("verify", "model_repository").stderr
