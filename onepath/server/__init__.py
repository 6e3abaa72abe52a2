"""Deploying bundles into a Triton model repository, and running a Triton that is ready only once its probes pass."""

from onepath.server.launch import start_server
from onepath.server.probes import ProbeReport, check_probes
from onepath.server.repository import deploy
from onepath.server.running import RunningServer
from onepath.server.settings import DeploySettings, ServerSettings
from onepath.server.triton import TritonInstallation, find_triton
from onepath.server.verification import verify_repository

__all__ = [
    "DeploySettings",
    "ProbeReport",
    "RunningServer",
    "ServerSettings",
    "TritonInstallation",
    "check_probes",
    "deploy",
    "find_triton",
    "start_server",
    "verify_repository",
]
