"""Ways around the rules for pods in `models`, as data: what is done to an admitted engine, and what must be said.

Each way changes one thing of a pod that is admitted as it is. ``said`` is what our own policy says; ``first`` is what
the API server says in `models` where something else (Pod Security, a quota, a look-up) speaks before it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Pod = dict[str, Any]

OTHER_SHA256 = "0" * 64
OTHER_DIGEST = f"sha256:{OTHER_SHA256}"
FOREIGN = "docker.io/library/busybox:1.37"
CONTAINER: Mapping[str, Any] = {
    "image": FOREIGN,
    "resources": {"limits": {"memory": "16Mi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
}


@dataclass(frozen=True, slots=True)
class WayAround:
    """One way, what it changes, and the reason for which it is refused."""

    name: str
    change: Callable[[Pod], None]
    said: str
    first: str | None = None

    def applied(self, admitted: Pod) -> Pod:
        """Change a copy of an admitted pod."""
        pod = copy.deepcopy(admitted)
        self.change(pod)
        return pod


def engine(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["containers"][0]
    return found


def verify(pod: Pod) -> dict[str, Any]:
    found: dict[str, Any] = pod["spec"]["initContainers"][0]
    return found


def spec(**values: Any) -> Callable[[Pod], None]:
    return lambda pod: pod["spec"].update(copy.deepcopy(values))


def user(**values: Any) -> Callable[[Pod], None]:
    return lambda pod: pod["spec"]["securityContext"].update(copy.deepcopy(values))


def container(**values: Any) -> Callable[[Pod], None]:
    return lambda pod: engine(pod).update(copy.deepcopy(values))


def closed(**values: Any) -> Callable[[Pod], None]:
    return lambda pod: engine(pod)["securityContext"].update(copy.deepcopy(values))


def arguments(*more: str) -> Callable[[Pod], None]:
    return lambda pod: engine(pod)["args"].extend(more)


def value_of(flag: str, value: str) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        args = engine(pod)["args"]
        args[args.index(flag) + 1] = value.replace("MODEL", args[args.index("--model") + 1])

    return change


def without(flag: str) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        args = engine(pod)["args"]
        del args[args.index(flag) : args.index(flag) + 2]

    return change


def volume(**source: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        pod["spec"]["volumes"].append({"name": "more", **copy.deepcopy(source)})
        engine(pod)["volumeMounts"].append({"name": "more", "mountPath": "/more"})

    return change


def claim(**values: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        found = next(each for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each)
        found["persistentVolumeClaim"].update(values)

    return change


def mount(at: str, **values: Any) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        found = next(each for each in engine(pod)["volumeMounts"] if each["mountPath"] == at)
        found.update(copy.deepcopy(values))

    return change


def both(*changes: Callable[[Pod], None]) -> Callable[[Pod], None]:
    def change(pod: Pod) -> None:
        for each in changes:
            each(pod)

    return change


def another_model(pod: Pod) -> None:
    """Name another model everywhere, so that the pod agrees with itself."""
    old = pod["metadata"]["annotations"]["sandbox/model-sha256"]
    pod["metadata"]["annotations"]["sandbox/model-sha256"] = OTHER_SHA256
    for each in (engine(pod), verify(pod)):
        for key in ("args", "command"):
            each[key] = [word.replace(old, OTHER_SHA256) for word in each.get(key, [])]
        if not each["command"]:
            del each["command"]


def image(change: Callable[[str], str], of: Callable[[Pod], dict[str, Any]] = engine) -> Callable[[Pod], None]:
    return lambda pod: of(pod).update(image=change(of(pod)["image"]))


def more_containers(kind: str, name: str, **values: Any) -> Callable[[Pod], None]:
    return lambda pod: pod["spec"][kind].append({"name": name, **copy.deepcopy(CONTAINER), **copy.deepcopy(values)})


def for_windows(pod: Pod) -> None:
    """Claim another system, for which Pod Security asks less."""
    pod["spec"]["os"] = {"name": "windows"}
    pod["spec"]["securityContext"] = {"runAsNonRoot": True}
    for each in (engine(pod), verify(pod)):
        each["securityContext"] = {"runAsNonRoot": True}


def with_device(pod: Pod) -> None:
    engine(pod)["volumeMounts"] = [each for each in engine(pod)["volumeMounts"] if each["mountPath"] != "/models"]
    verify(pod)["volumeMounts"] = []
    found = next(each["name"] for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each)
    engine(pod)["volumeDevices"] = [{"name": found, "devicePath": "/dev/model"}]


def a_second_engine(pod: Pod) -> None:
    pod["spec"]["containers"].append({**copy.deepcopy(engine(pod)), "name": "beside"})


def labels(**values: str) -> Callable[[Pod], None]:
    return lambda pod: pod["metadata"]["labels"].update({f"app.kubernetes.io/{k}": v for k, v in values.items()})


USER = (
    WayAround("root", user(runAsUser=0), "user: ", "runAsUser=0 (pod must not set runAsUser=0)"),
    WayAround("root in one container", closed(runAsUser=0), "engine 0:65532", "must not set runAsUser=0"),
    WayAround("another user", user(runAsUser=1000), "found user engine 1000:65532"),
    WayAround("maybe root", user(runAsNonRoot=False), "user: runAsNonRoot", "runAsNonRoot != true"),
    WayAround("root's group", user(runAsGroup=0), "engine 65532:0"),
    WayAround("root's group on volumes", user(fsGroup=0), "user: "),
    WayAround("root's group besides", user(supplementalGroups=[0]), "user: "),
    WayAround("said to be for Windows", for_windows, "user: "),
)
PRIVILEGES = (
    WayAround(
        "privilege escalation",
        closed(allowPrivilegeEscalation=True),
        "privileges: allowPrivilegeEscalation must be false",
        "allowPrivilegeEscalation != false",
    ),
    WayAround("privileged", closed(privileged=True, allowPrivilegeEscalation=True), "privileges: ", "privileged"),
    WayAround(
        "the node's /proc",
        both(spec(hostUsers=False), closed(procMount="Unmasked")),
        "privileges: ",
        "procMount",
    ),
    WayAround(
        "a capability that Pod Security grants",
        closed(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        "add [NET_BIND_SERVICE]",
    ),
    WayAround(
        "a capability", closed(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "add [SYS_ADMIN]", "SYS_ADMIN"
    ),
    WayAround("capabilities kept", closed(capabilities={}), "capabilities: drop ALL", "unrestricted capabilities"),
    WayAround("a writable root", closed(readOnlyRootFilesystem=False), "root-filesystem: "),
    WayAround("no seccomp", user(seccompProfile={"type": "Unconfined"}), "seccomp engine Unconfined", "seccompProfile"),
    WayAround(
        "a seccomp profile of one's own",
        closed(seccompProfile={"type": "Localhost", "localhostProfile": "open.json"}),
        "seccomp engine Localhost",
    ),
    WayAround("no AppArmor", closed(appArmorProfile={"type": "Unconfined"}), "kernel: ", "AppArmor profile"),
    WayAround("SELinux options", closed(seLinuxOptions={"type": "container_t"}), "kernel: "),
    WayAround("a sysctl", user(sysctls=[{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]), "kernel: "),
)
HOST = (
    WayAround("the node's network", spec(hostNetwork=True), "host: hostNetwork", "host namespaces (hostNetwork=true)"),
    WayAround("the node's processes", spec(hostPID=True), "host: hostPID", "host namespaces (hostPID=true)"),
    WayAround("the node's memory", spec(hostIPC=True), "host: hostIPC", "host namespaces (hostIPC=true)"),
    WayAround(
        "a port of the node",
        container(ports=[{"containerPort": 8080, "hostPort": 8080}]),
        "host: hostPort of engine",
        "hostPort",
    ),
    WayAround("names of hosts", spec(hostAliases=[{"ip": "192.0.2.1", "hostnames": ["gateway"]}]), "host: hostAliases"),
    WayAround("another name service", spec(dnsConfig={"nameservers": ["192.0.2.1"]}), "host: dnsConfig"),
    WayAround("one process table", spec(shareProcessNamespace=True), "host: shareProcessNamespace"),
    WayAround("a chosen node", spec(nodeName="elsewhere"), "node: the scheduler chooses; found nodeName elsewhere"),
)
IMAGES = (
    WayAround("another image by tag", image(lambda _: FOREIGN), f"images: {FOREIGN} is not on the list"),
    WayAround("another digest", image(lambda ref: f"{ref.split('@')[0]}@{OTHER_DIGEST}"), f"@{OTHER_DIGEST} is not on"),
    WayAround("the same name without digest", image(lambda ref: ref.split("@")[0]), "is not on the list of reviewed"),
    WayAround("the digest under another name", image(lambda ref: f"evil@{ref.split('@')[1]}"), "images: evil@sha256:"),
    WayAround(
        "another image to verify with", image(lambda _: FOREIGN, verify), f"images: {FOREIGN} is not on the list"
    ),
)
CONTAINERS = (
    WayAround("a second engine", a_second_engine, "containers: exactly one, named engine; found engine, beside"),
    WayAround("a second container", more_containers("containers", "beside"), "found engine, beside"),
    WayAround(
        "a container of another name", container(name="main"), "containers: exactly one, named engine; found main"
    ),
    WayAround(
        "a sidecar",
        more_containers("initContainers", "beside", restartPolicy="Always"),
        "init-containers: exactly one, named verify, that ends by itself; found verify, beside",
    ),
    WayAround("no look at the model", lambda pod: pod["spec"].pop("initContainers"), "init-containers: "),
    WayAround("a look that never ends", lambda pod: verify(pod).update(restartPolicy="Always"), "init-containers: "),
    WayAround("a look at something else", lambda pod: verify(pod).update(name="look"), "found look"),
    WayAround("a look that sees nothing", lambda pod: verify(pod).update(command=["/bin/true"]), "verify: the command"),
    WayAround("a look with more to do", lambda pod: verify(pod).update(args=["; id"]), "; id]"),
    WayAround("another program", container(command=["/bin/sh", "-c", "id"]), "command: an engine runs what its image"),
    WayAround("a canary's program", container(command=["/canary"]), "found [/canary]"),
    WayAround("said to be a canary", labels(instance="canary"), "init-containers: none for a canary"),
    WayAround("another component", labels(component="gateway"), "labels: "),
    WayAround("no labels", lambda pod: pod["metadata"].pop("labels"), "labels: "),
)
MODELS = (
    WayAround("another model", another_model, f'models: sha256 "{OTHER_SHA256}"'),
    WayAround("no model named", lambda pod: pod["metadata"].pop("annotations"), 'models: sha256 ""'),
    WayAround(
        "another model behind the reviewed one's name",
        value_of("--model", f"/models/sha256-{OTHER_SHA256}"),
        f"paths: /models/sha256-{OTHER_SHA256} is neither",
    ),
    WayAround("a path that climbs", value_of("--model", "MODEL/../other"), "/../other is neither"),
    WayAround("another file as the key", value_of("--api-key-file", "/etc/hostname"), "paths: /etc/hostname"),
    WayAround("no model at all", without("--model"), "arguments: must be reviewed flags with their values"),
    WayAround("no key", without("--api-key-file"), "arguments: "),
    WayAround("the key's flag swallowed", value_of("--alias", "--api-key-file"), "arguments: "),
    WayAround("a flag twice", arguments("--parallel", "64"), "arguments: "),
    WayAround("a word that is no flag's", arguments("more"), "arguments: "),
    WayAround("two words in one", arguments("--jinja\n--metrics"), "flags: --jinja --metrics is not on the list"),
    WayAround("another origin", value_of("--cors-origins", "*"), "arguments: "),
    WayAround("a value joined to its flag", arguments("--model=/models/other"), "flags: --model=/models/other is not"),
)
FLAGS = tuple(
    WayAround(f"the flag {words[0]}", arguments(*words), f"flags: {words[0]} is not on the list of reviewed flags")
    for words in (
        ("--lora", "/models/lora"),
        ("--mmproj", "/models/eyes"),
        ("--model-url", "https://models.invalid/evil.gguf"),
        ("--hf-repo", "evil/model"),
        ("--slot-save-path", "/tmp"),
        ("--log-file", "/tmp/log"),
        ("--path", "/secrets"),
        ("--media-path", "/secrets"),
        ("--grammar-file", "/secrets/engine-key/key"),
        ("--api-key", "known"),
        ("--props",),
        ("--slots",),
        ("--rpc", "192.0.2.1:50052"),
        ("-m", "/models/other"),
    )
)
VOLUMES = (
    WayAround(
        "a folder of the node", volume(hostPath={"path": "/"}), "volumes: more is neither", 'volume type "hostPath"'
    ),
    WayAround("another Secret", volume(secret={"secretName": "steward-token"}), "volumes: more is neither"),
    WayAround("a ConfigMap", volume(configMap={"name": "reviewed"}), "volumes: more is neither"),
    WayAround(
        "a token by projection",
        volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]}),
        "volumes: more is neither",
    ),
    WayAround(
        "what the API says of the pod",
        volume(downwardAPI={"items": [{"path": "ip", "fieldRef": {"fieldPath": "metadata.name"}}]}),
        "volumes: more is neither",
    ),
    WayAround("another claim", volume(persistentVolumeClaim={"claimName": "state"}), "volumes: more is neither"),
    WayAround(
        "a share of the network", volume(nfs={"server": "192.0.2.1", "path": "/"}), "volumes: ", "restricted volume"
    ),
    WayAround("a driver's volume", volume(csi={"driver": "evil.example"}), "volumes: more is neither"),
    WayAround("models that can be written", claim(readOnly=False), "volumes: models is neither"),
    WayAround("a mount that can be written", mount("/models", readOnly=False), "mounts: only /models"),
    WayAround("models over the programs", mount("/models", mountPath="/usr"), "engine models at /usr read-only"),
    WayAround("a part of the models", mount("/models", subPath="part"), "mounts: "),
    WayAround("an empty directory over the programs", mount("/tmp", mountPath="/app"), "engine tmp at /app"),
    WayAround(
        "the key where it is only looked",
        lambda pod: verify(pod)["volumeMounts"].append(
            {"name": "engine-key", "mountPath": "/secrets/engine-key", "readOnly": True}
        ),
        "verify engine-key at /secrets/engine-key",
    ),
)
REST = (
    WayAround("a token", spec(automountServiceAccountToken=True), "token: automountServiceAccountToken must be false"),
    WayAround("no word of a token", lambda pod: pod["spec"].pop("automountServiceAccountToken"), "token: "),
    WayAround("another account", spec(serviceAccountName="steward"), "and steward", '"steward" not found'),
    WayAround("a library put before all", container(env=[{"name": "LD_PRELOAD", "value": "/tmp/x.so"}]), "LD_PRELOAD"),
    WayAround("a setting past the flags", container(env=[{"name": "LLAMA_ARG_LORA", "value": "/x"}]), "LLAMA_ARG_LORA"),
    WayAround(
        "a Secret as variables", container(envFrom=[{"secretRef": {"name": "engine-key"}}]), "engine [(a whole object)]"
    ),
    WayAround("variables from Services", spec(enableServiceLinks=True), "enableServiceLinks true"),
    WayAround(
        "a hook at the start",
        container(lifecycle={"postStart": {"exec": {"command": ["/bin/sh", "-c", "id"]}}}),
        "hooks: no lifecycle hooks",
    ),
    WayAround("a hook at the end", container(lifecycle={"preStop": {"sleep": {"seconds": 1}}}), "hooks: "),
    WayAround("a probe that runs something", container(livenessProbe={"exec": {"command": ["id"]}}), "hooks: "),
    WayAround(
        "a probe of somebody else",
        container(readinessProbe={"httpGet": {"host": "192.0.2.1", "port": 80}}),
        "hooks: ",
        "probe or lifecycle host",
    ),
    WayAround("no limit of memory", lambda pod: engine(pod)["resources"].pop("limits"), "memory: every container"),
    WayAround(
        "a device", lambda pod: engine(pod)["resources"]["limits"].update({"evil.example/kvm": "1"}), "evil.example/kvm"
    ),
    WayAround("a block device", with_device, "devices: "),
    WayAround("a device by claim", spec(resourceClaims=[{"name": "d", "resourceClaimName": "d"}]), "devices: "),
    WayAround("another runtime", spec(runtimeClassName="refusals"), "found refusals"),
    WayAround("NVIDIA's runtime for nothing", spec(runtimeClassName="nvidia"), "runtime: only nvidia, and only with"),
    WayAround("the platform's priority", spec(priorityClassName="sandbox-platform"), "found sandbox-platform"),
    WayAround("the node's own priority", spec(priorityClassName="system-node-critical"), "found system-node-critical"),
)

PODS = USER + PRIVILEGES + HOST + IMAGES + CONTAINERS + MODELS + FLAGS + VOLUMES + REST
