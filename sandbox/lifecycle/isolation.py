"""Isolation that is enforced, not declared: canaries try, the policy agent comes where the network does not enforce."""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.cluster import agent, evidence
from sandbox.cluster.canaries import Canaries, Target, Verdict, ways
from sandbox.cluster.kind import API_NODE_PORT, PAGE_NODE_PORT
from sandbox.errors import ClusterFailed, IsolationUnproved, NotRunning
from sandbox.lifecycle.cluster import APPLIED, lists
from sandbox.lifecycle.site import Site
from sandbox.ports import Told

PROOF = "isolation"
"""ConfigMap that says what the canaries found, and for what."""
BY_NETWORK = "enforced by the cluster's own network"
BY_AGENT = "enforced by the sandbox's policy agent"
UNPROVED = "unproved"
SHOWN = 6
TRIES = 6
"""How often canaries go before a closed way that is allowed counts: name service and gateway start with the node."""


@dataclass(frozen=True, slots=True)
class HaveIsolation:
    """Canaries have found every forbidden way closed and every allowed one open, with today's policies."""

    site: Site
    title: str = "Prove the isolation"

    def is_done(self) -> bool:
        """It was proved for what is deployed now, on the node as it runs now."""
        try:
            proof = self.site.kube.config_map("sandbox", PROOF)
            if not proof or proof.get("for") != self._subject():
                return False
            if proof.get("how") == BY_AGENT:
                return agent.is_ready(self.site.kube)
            return proof.get("how") == BY_NETWORK or self.site.world.settings.cluster.allow_unproved
        except (NotRunning, ClusterFailed):
            return False

    def do(self, told: Told) -> None:
        """Send canaries; where the network does not enforce, bring the agent and send them again.

        Raises:
            IsolationUnproved: neither holds, and the settings do not allow that.
        """
        kube = self.site.kube
        kube.set_config_map("models", "reviewed", lists(self.site, with_models=False))
        has_agent = agent.is_ready(kube)
        verdict = self._try(told)
        how = BY_AGENT if has_agent else BY_NETWORK
        if not verdict.is_enforced and not has_agent:
            told.note(f"the network does not enforce policies ({_shown(verdict)}): bringing the policy agent")
            self._bring_agent()
            verdict, how = self._try(told), BY_AGENT
        if not verdict.is_enforced:
            how = self._refuse(verdict, told)
        told.note(f"{how}: {verdict.n_forbidden} forbidden ways closed, {_n_allowed(verdict)} allowed ones open")
        kube.set_config_map("sandbox", PROOF, {"how": how, "for": self._subject()})

    def _try(self, told: Told) -> Verdict:
        """Send canaries; again while nothing leaks but something allowed is still closed, as right after a start."""
        verdict = self._send()
        for _ in range(TRIES - 1):
            if verdict.leaks or not verdict.blocked:
                break
            told.note(f"not all allowed ways are open yet ({_shown(verdict)}): trying again")
            verdict = self._send()
        return verdict

    def _send(self) -> Verdict:
        canaries = Canaries(self.site.kube, self.site.world.clock, image=self.site.digests["engine"])
        try:
            with self.site.outside() as outside:
                targets = [*fixed_targets(self.site), *outside, canaries.start_stand_in(self.site.digests["gateway"])]
                return canaries.send(ways(targets))
        finally:
            canaries.clear()

    def _bring_agent(self) -> None:
        site = self.site
        site.kube.apply(agent.objects(site.digests["agent"], pod_cidr=site.pod_cidr))
        site.deny_at_boot()
        evidence.wait(
            lambda: agent.is_ready(site.kube),
            clock=site.world.clock,
            deadline_s=site.world.settings.cluster.ready_timeout_s,
            what="the policy agent is not ready",
            kube=site.kube,
            namespace=agent.NAMESPACE,
            labels=agent.LABELS,
        )

    def _refuse(self, verdict: Verdict, told: Told) -> str:
        found = _shown(verdict)
        if not self.site.world.settings.cluster.allow_unproved:
            raise IsolationUnproved(
                f"network policies are declared, but not enforced on this cluster, with the policy agent neither: "
                f"{found}; no engine was started",
                hint="see the agent: sandbox logs agent; run without a cluster: SANDBOX_BACKEND=local make up; "
                "or run unproved, and every page says so: sandbox up --allow-unproved",
            )
        told.note(f"NOT ENFORCED ({found}): allowed by the settings, and every page says so")
        return UNPROVED

    def _subject(self) -> str:
        """Name what was proved: the objects applied, and this start of the node."""
        applied = (self.site.kube.config_map("sandbox", APPLIED) or {}).get("digest", "")
        return f"{applied} {self.site.node_start()}"


def fixed_targets(site: Site) -> list[Target]:
    """List what listens in every cluster: API server, kubelet, name service, our own parts."""
    kube, node = site.kube, site.node_address()
    api, dns = kube.service_address("default", "kubernetes"), kube.service_address("kube-system", "kube-dns")
    targets = [
        Target("api", str(api), 443),
        Target("api-node", node, 6443),
        Target("kubelet", node, 10250),
        Target("etcd", node, 2379),
        Target("gateway", str(kube.service_address("sandbox", "gateway")), 8502),
        Target("page", str(kube.service_address("sandbox", "page")), 8501),
    ]
    targets += [Target("node-gateway", node, API_NODE_PORT), Target("node-page", node, PAGE_NODE_PORT)]
    if dns:
        targets += [Target("dns-udp", dns, 53, "udp"), Target("dns-tcp", dns, 53), Target("dns-figures", dns, 9153)]
    return targets


def _shown(verdict: Verdict) -> str:
    wrong = [f"open: {each.way.told()}" for each in verdict.leaks]
    wrong += [f"closed: {each.way.told()}" for each in verdict.blocked]
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return "; ".join(wrong[:SHOWN]) + more


def _n_allowed(verdict: Verdict) -> int:
    return len(verdict.tried) - verdict.n_forbidden
