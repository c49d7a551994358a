"""The sandbox in a cluster of the user's own, named by a context of the user's kubeconfig."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.lifecycle import cluster
from sandbox.lifecycle.site import Site
from sandbox.lifecycle.steps import Step


@dataclass(frozen=True, slots=True)
class ContextBackend:
    """Somebody's cluster, through the same manifests."""

    site: Site

    @property
    def name(self) -> str:
        """``context:NAME``."""
        return f"context:{self.site.context}"

    def steps_up(self) -> list[Step]:
        """List the way to a running sandbox."""
        raise NotImplementedError

    def steps_down(self) -> list[Step]:
        """List the way to nothing running; volumes and secrets stay."""
        raise NotImplementedError

    def states(self) -> dict[str, bool]:
        """Say which parts run."""
        return cluster.states(self.site)

    def log(self, name: str, n_lines: int) -> list[str]:
        """Read the end of a pod's log."""
        return cluster.log(self.site, name, n_lines)
