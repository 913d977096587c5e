# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker daemon through the Docker SDK for Python, and the labels by which Compose marks what it made."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from .errors import RollbackError

if TYPE_CHECKING:
    from docker.client import DockerClient

try:
    import docker
    from docker.errors import DockerException
except ImportError:
    DOCKER_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    DOCKER_IMPORT_ERROR = None

# https://github.com/compose-spec/compose-spec and docker/compose pkg/api/labels.go
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
ONE_OFF_LABEL = "com.docker.compose.oneoff"
NUMBER_LABEL = "com.docker.compose.container-number"
CONFIG_FILES_LABEL = "com.docker.compose.project.config_files"
ENVIRONMENT_FILES_LABEL = "com.docker.compose.project.environment_file"
WORKING_DIRECTORY_LABEL = "com.docker.compose.project.working_dir"
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
REVISION_LABEL = "org.opencontainers.image.revision"
VERSION_LABEL = "org.opencontainers.image.version"


def connect(docker_host: str | None = None, timeout: int = 60) -> DockerClient:
    """Return a client of a daemon that answers.

    ``docker_host`` is a URL as in the environment variable ``DOCKER_HOST``; without it the environment decides.
    ``timeout`` is the limit of one request, in seconds.
    Raises ``RollbackError`` when the SDK is missing or the daemon does not answer.
    """
    if DOCKER_IMPORT_ERROR is not None:
        raise RollbackError(
            "The Docker SDK for Python is missing on the managed host. Nothing was changed.",
            "Install it for the Python that Ansible uses there: apt-get install python3-docker, or pip install docker.",
            exception=DOCKER_IMPORT_ERROR,
        )
    try:
        client = docker.DockerClient(base_url=docker_host, timeout=timeout) if docker_host else _from_env(timeout)
        client.ping()
    except (DockerException, OSError) as error:
        raise RollbackError(
            f"The Docker daemon does not answer: {error}. Nothing was changed.",
            "Look at it with 'docker info' on that host, as the same user. If it says 'permission denied', put the "
            "user in the group docker; if the daemon is down, start it with 'systemctl start docker'.",
        ) from error
    return client


def _from_env(timeout: int) -> DockerClient:
    return docker.from_env(timeout=timeout)
