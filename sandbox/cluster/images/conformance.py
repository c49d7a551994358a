"""What network policies are tested with: cyclonus, and the agnhost image it starts; for tests alone."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path

from sandbox.cluster.docker import Docker
from sandbox.cluster.images import archive, finished, golang, kubernetes
from sandbox.cluster.images.archive import StaticImage
from sandbox.cluster.images.commands import Say
from sandbox.cluster.images.golang import Programs

AGNHOST_REF = "registry.k8s.io/e2e-test-images/agnhost:2.43"
"""The name that cyclonus v0.5.6 starts; what is in it is of the cluster's own version."""
CYCLONUS = Programs(
    name="cyclonus",
    folder="cyclonus",
    module="github.com/mattfenwick/cyclonus",
    packages={"cyclonus": "github.com/mattfenwick/cyclonus/cmd/cyclonus"},
    system=platform.system().lower(),
)
AGNHOST = Programs(
    name="agnhost",
    folder="kubernetes",
    module="k8s.io/kubernetes",
    packages={"agnhost": "k8s.io/kubernetes/test/images/agnhost"},
)


def cyclonus(cache: Path, say: Say) -> Path:
    """Build cyclonus unless it is there, and return the program.

    Raises:
        BuildFailed: Go is missing or too old, a checksum does not match, or it does not compile.
    """
    return finished.provide(CYCLONUS.recipe(), cache, say, lambda into: golang.build(CYCLONUS, into, say)) / "cyclonus"


def agnhost(docker: Docker, cache: Path, say: Say) -> str:
    """Build the image of agnhost unless it is there, and return its name.

    Raises:
        BuildFailed: as ``cyclonus``, or the engine does not take the image.
    """
    if docker.image_id(AGNHOST_REF) is None:
        program = kubernetes.provide(AGNHOST, cache, say) / "agnhost"
        image = StaticImage(AGNHOST_REF, program, folder="")  # cyclonus starts it as /agnhost
        with tempfile.TemporaryDirectory(prefix="agnhost-", dir=cache / "builds") as scratch:
            docker.load(archive.write([image], golang.architecture(), Path(scratch) / "agnhost.tar"), AGNHOST_REF)
    return AGNHOST_REF
