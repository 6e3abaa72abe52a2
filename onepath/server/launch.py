"""Starting a Triton server on a verified repository; it is returned only once every pipeline passes its probes."""

from __future__ import annotations

import logging
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from onepath.contract.deployment import Deployment
from onepath.contract.errors import ServerUnavailableError
from onepath.contract.probes import probes_from_file
from onepath.server.control import ADMIN_HEADER, RESTRICTED, is_ready
from onepath.server.held_signals import HeldSignals
from onepath.server.logs import reason_from_log
from onepath.server.names import PROBES, VERSION
from onepath.server.ports import choose_ports, connect_address
from onepath.server.probes import ProbeReport, check_probes
from onepath.server.process import ServerProcess
from onepath.server.running import Endpoints, RunningServer
from onepath.server.settings import ServerSettings
from onepath.server.triton import TritonInstallation, assemble_backends, find_triton, server_environment
from onepath.server.verification import manifest_of_pipeline, verify_repository

logger = logging.getLogger(__name__)

_POLL_S = 0.05
_EXIT_TIMEOUT_S = 6
"""How long Triton waits for models that do not end, such as one whose Python process has died."""
_HELP_TIMEOUT_S = 30.0
"""How long a Triton may take to say which flags it knows; a second is usual, a cold disk takes longer."""


def start_server(
    repository: Path, settings: ServerSettings | None = None, *, installation: TritonInstallation | None = None
) -> RunningServer:
    """Return a server that answers every golden probe of every pipeline in a repository correctly.

    Args:
        repository: a model repository that `deploy` wrote.
        settings: where to listen and how long to wait; loopback and Triton's own ports unless given.
        installation: the Triton to start; the one that `find_triton` finds unless given.

    Raises:
        BundleIntegrityError: a deployed file is not what was deployed; nothing was started.
        ServerUnavailableError: there is no Triton or no pipeline, Triton cannot be run, a port is taken, compiled code
            that nobody checked cannot be removed, the server ended or took too long, or a probe was answered wrongly.
            The server is gone then, and the log of one that was started is kept and named.
    """
    settings = settings or ServerSettings()
    deployments = verify_repository(repository)
    if not deployments:
        raise ServerUnavailableError(f"{repository} holds no pipeline to serve; deploy a bundle to it first")
    installation = installation or find_triton()
    _check_backends(repository, deployments, installation)
    _remove_bytecode(repository, deployments)
    with HeldSignals() as held:
        server = _launch(repository, deployments, settings, installation)
        try:
            held.release()  # from here on, whatever ends this also ends the server
            _wait_until_loaded(server, settings.start_timeout_s)
            server.reports = probe_pipelines(server.grpc_address, repository, deployments)
        except ServerUnavailableError as error:
            server.abandon()
            raise ServerUnavailableError(f"{error} (the server's log is {server.log_file})") from error
        except BaseException:
            server.drain()
            raise
    logger.info("serving %s on %s", ", ".join(server.front_doors), server.grpc_address)
    return server


def probe_pipelines(
    address: str, repository: Path, deployments: Sequence[Deployment], *, timeout_s: float = 30.0
) -> tuple[ProbeReport, ...]:
    """Return how each pipeline answered its probes.

    Raises:
        ServerUnavailableError: naming the pipeline, and the probe that was answered wrongly or not at all.
    """
    reports = []
    for deployment in deployments:
        manifest = manifest_of_pipeline(repository, deployment)
        probes = probes_from_file(repository / deployment.front_door / VERSION / PROBES)
        reports.append(check_probes(address, deployment.front_door, probes, manifest, timeout_s=timeout_s))
    return tuple(reports)


def _check_backends(repository: Path, deployments: Sequence[Deployment], installation: TritonInstallation) -> None:
    for deployment in deployments:
        if manifest_of_pipeline(repository, deployment).engines and not installation.has_tensorrt:
            raise ServerUnavailableError(
                f"{deployment.front_door} is deployed as a TensorRT engine, for which {installation.binary} has no "
                "backend; serve it with NVIDIA's Triton on a GPU, or deploy it with --engine never",
                binary=str(installation.binary),
            )


def _remove_bytecode(repository: Path, deployments: Sequence[Deployment]) -> None:
    """Remove what an earlier server compiled: it runs in the place of `model.py`, and no digest is known of it."""
    for model in (model for deployment in deployments for model in deployment.models):
        compiled = repository / model / VERSION / "__pycache__"
        shutil.rmtree(compiled, ignore_errors=True)
        if compiled.exists():
            raise ServerUnavailableError(
                f"cannot remove {compiled}, whose code nobody has checked and which would run in the place of "
                "model.py; remove it, or deploy to a new repository",
                path=str(compiled),
            )


def _launch(
    repository: Path, deployments: Sequence[Deployment], settings: ServerSettings, installation: TritonInstallation
) -> RunningServer:
    ports = choose_ports(settings.host, (settings.grpc_port, settings.http_port, settings.metrics_port))
    workspace, token = Path(tempfile.mkdtemp(prefix="onepath-server-")), secrets.token_hex(16)
    front_doors = tuple(deployment.front_door for deployment in deployments)
    flags = [
        f"--model-repository={repository.resolve()}",
        *_loading_flags(front_doors, settings),
        *_listening_flags(settings.host, ports),
    ]
    try:
        process = _start_process(installation, workspace, flags, token, log=settings.log_file)
    except BaseException:
        shutil.rmtree(workspace, ignore_errors=True)
        raise
    return RunningServer(
        process,
        workspace=workspace,
        front_doors=front_doors,
        models=tuple(model for deployment in deployments for model in deployment.models),
        endpoints=Endpoints(*(connect_address(settings.host, port) for port in ports)),
        admin_token=token,
        drain_timeout_s=settings.drain_timeout_s,
    )


def _start_process(
    installation: TritonInstallation, workspace: Path, flags: Sequence[str], token: str, *, log: Path | None
) -> ServerProcess:
    environment = server_environment(installation)
    try:
        command = [
            str(installation.binary),
            *flags,
            f"--backend-directory={assemble_backends(installation, workspace)}",
            f"--backend-config=python,shm-region-prefix-name={workspace.name}",
            *_restriction_flags(installation, environment, token),
        ]
        return ServerProcess(command, environment, log or workspace / "server.log")
    except (OSError, shutil.Error, subprocess.TimeoutExpired) as error:
        raise ServerUnavailableError(
            f"cannot start {installation.binary}: {error}; check that it is Triton's program, that this user may run "
            "it, and that the disk has room, or install it again",
            binary=str(installation.binary),
        ) from error


def _loading_flags(front_doors: Sequence[str], settings: ServerSettings) -> list[str]:
    return [
        "--model-control-mode=explicit",
        *(f"--load-model={name}" for name in front_doors),  # a front door brings its inner models along
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
        f"--log-verbose={settings.log_verbose}",
    ]


def _listening_flags(host: str, ports: Sequence[int]) -> list[str]:
    names = ("grpc", "http", "metrics")
    addresses = [f"--{name}-address={host}" for name in names]
    return [*addresses, *(f"--{name}-port={port}" for name, port in zip(names, ports, strict=True))]


def _restriction_flags(installation: TritonInstallation, environment: dict[str, str], token: str) -> list[str]:
    """Return the flags that close the interfaces that change the server to all but the holder of the token."""
    command = [str(installation.binary), "--help"]
    asked = subprocess.run(command, env=environment, capture_output=True, check=False, timeout=_HELP_TIMEOUT_S)
    known = asked.stdout + asked.stderr
    flags = ("--http-restricted-api", "--grpc-restricted-protocol")
    missing = [flag for flag in flags if flag.encode() not in known]
    if missing:
        logger.warning("%s does not know %s: anyone who reaches it can load models", installation.binary, missing)
    return [f"{flag}={RESTRICTED}:{ADMIN_HEADER}={token}" for flag in flags if flag not in missing]


def _wait_until_loaded(server: RunningServer, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_ready(server.http_address):
        if not server.running:
            raise ServerUnavailableError(f"the server ended while starting: {reason_from_log(server.log_file)}")
        if time.monotonic() > deadline:
            reason = reason_from_log(server.log_file)
            raise ServerUnavailableError(f"the server was not ready within {timeout_s:g} s: {reason}")
        time.sleep(_POLL_S)
