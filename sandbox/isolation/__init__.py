"""Enforces Kubernetes NetworkPolicy on one node with nftables, where the pod network does not.

    Kubernetes objects ──read──▶ model ──rules──▶ Ruleset ──nft──▶ one text ──kernel──▶ one transaction

Everything left of the kernel is pure; ``watch`` brings the objects and ``agent`` does the doing.
"""

from sandbox.isolation.nft import REMOVE, deny_all

__all__ = ["REMOVE", "deny_all"]
