import pytest

FILES = ["manifest.json", "manifest.sha256", "probes.json", "graphs/model.onnx", "weights/model.safetensors"]


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def short_id(workspace):
    return (workspace / "build" / "tiny" / "manifest.sha256").read_text()[:12]


@pytest.mark.parametrize("place", ["build/tiny", "tiny"])
def test_a_bundle_is_verified_by_path_or_by_name(onepath, workspace, place):
    found = onepath("verify", place)
    assert found.exit_code == 0
    assert f"ok: tiny {short_id(workspace)}" in found.stdout


def test_verify_lists_every_file_and_every_proof(onepath, workspace):
    stdout = onepath("verify", "tiny").stdout
    assert [name for name in (*FILES[2:], "collapse", "onnx") if name not in stdout] == []


@pytest.mark.parametrize("command", [["verify"], ["inspect"], ["deploy"], ["serve"]])
@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_refused_by_every_command_and_its_file_named(onepath, workspace, command, name):
    flip_a_bit(workspace / "build" / "tiny" / name)
    found = onepath(*command, "build/tiny")
    assert found.exit_code == 1
    assert name.partition(".")[0] in found.stderr


def test_a_repository_is_verified(onepath, workspace):
    found = onepath("verify", "model_repository")
    assert (found.exit_code, found.stdout.splitlines()[-1]) == (0, "ok: 1 pipeline")
    assert short_id(workspace) in found.stdout


@pytest.mark.parametrize("command", ["verify", "serve"])
def test_a_flipped_bit_in_a_repository_is_refused(onepath, workspace, command):
    (graph,) = workspace.glob("model_repository/*.graph/1/model.onnx")
    flip_a_bit(graph)
    found = onepath(command, "model_repository")
    assert found.exit_code == 1
    assert "model.onnx" in found.stderr


def test_a_folder_that_is_neither_is_refused(onepath, workspace):
    (workspace / "empty").mkdir()
    found = onepath("verify", "empty")
    assert found.exit_code == 1
    assert "is this folder a bundle?" in found.stderr


def test_deploy_writes_the_front_door_and_names_its_models(onepath, workspace):
    found = onepath("deploy", "build/tiny", "--repository", "elsewhere")
    assert found.exit_code == 0
    assert (workspace / "elsewhere" / "tiny" / "config.pbtxt").is_file()
    (graph,) = workspace.glob("elsewhere/tiny.*.graph")
    assert graph.name in found.stdout


@pytest.mark.parametrize("place", ["a-file", "a-file/deeper", "/proc/nowhere"])
def test_deploying_to_what_cannot_be_a_folder_is_refused(onepath, workspace, place):
    (workspace / "a-file").write_text("")
    found = onepath("deploy", "build/tiny", "--repository", place)
    assert found.exit_code == 1
    assert "cannot be made a folder" in found.stderr


def test_deploy_passes_on_how_the_machine_is_used(onepath, workspace):
    onepath("deploy", "tiny", "-r", "r", "--kind", "gpu", "--graph-instances", 3, "--max-queue-delay-us", 250)
    (config,) = workspace.glob("r/*.graph/config.pbtxt")
    text = config.read_text()
    assert all(part in text for part in ("KIND_GPU", "count: 3", "max_queue_delay_microseconds: 250"))
