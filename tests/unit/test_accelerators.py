"""What a machine offers to compute with, and what is chosen; on machines made up for the purpose."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.accelerators import (
    Accelerators,
    ClusterOffer,
    Containers,
    Gpu,
    HostEngine,
    Nvidia,
    Printed,
    ThisMachine,
    Vulkan,
    choose,
    look,
    missing,
)
from sandbox.accelerators.facts import Toolkit
from sandbox.accelerators.looking import driver_version, listed_kinds, parse_smi, takes_mounts
from sandbox.errors import AcceleratorUnavailable
from sandbox.units import MIB

PROC_VERSION = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""
PROC_OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  570.86.15  Release Build  (builder@host)\n"
SMI = "0, 24564, 535.183.01, NVIDIA GeForce RTX 4090\n"
LISTS_CUDA = """ggml_cuda_init: found 1 CUDA devices
Available devices:
  CUDA0: NVIDIA GeForce RTX 4090 (24111 MiB, 23000 MiB free)
"""
LISTS_NONE = "Available devices:\n  (none)\n"


@dataclass(frozen=True)
class MadeUp:
    """A machine that says what it was told to."""

    system: str = "Linux"
    machine: str = "x86_64"
    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, Printed | None] = field(default_factory=dict)
    asked: list[Sequence[str]] = field(default_factory=list)

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if f"/usr/bin/{name}" in self.programs else None

    def exists(self, path: str) -> bool:
        return path in self.files

    def matching(self, pattern: str) -> tuple[str, ...]:
        return tuple(sorted(path for path in self.files if fnmatchcase(path, pattern)))

    def read(self, path: str) -> str:
        return self.files.get(path, "")

    def run(self, argv: Sequence[str], *, deadline_s: float) -> Printed | None:
        assert deadline_s > 0
        self.asked.append(argv)
        return self.programs.get(argv[0])


GPU_FILES = {
    "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
    "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
    "/proc/driver/nvidia/version": PROC_VERSION,
    "/dev/nvidia0": "",
}


def with_nvidia(*, smi: Printed | None = None, **more: Printed) -> MadeUp:
    programs = {f"/usr/bin/{name}": printed for name, printed in more.items()}
    return MadeUp(files=GPU_FILES, programs={"/usr/bin/nvidia-smi": smi or Printed(0, SMI), **programs})


# Looking


def test_a_bare_machine_is_asked_by_files_alone() -> None:
    machine = MadeUp(programs={"/usr/bin/nvidia-smi": None})
    found = look(machine)
    assert not found.nvidia.is_there
    assert machine.asked == []
    assert (found.vulkan, found.has_metal, found.engine.lists) == (Vulkan(), False, ())


def test_a_gpu_with_its_driver_is_told_whole() -> None:
    found = look(with_nvidia())
    assert found.nvidia == Nvidia(
        is_on_bus=True,
        driver="535.183.01",
        devices=("/dev/nvidia0",),
        gpus=(Gpu("NVIDIA GeForce RTX 4090", 24564 * MIB),),
    )


def test_a_gpu_without_its_driver_is_seen_on_the_bus() -> None:
    files = {path: text for path, text in GPU_FILES.items() if path.startswith("/sys")}
    found = look(MadeUp(files=files))
    assert (found.nvidia.is_on_bus, found.nvidia.driver, found.nvidia.is_there) == (True, None, True)


def test_a_sound_device_of_the_same_maker_is_no_gpu() -> None:
    files = {
        "/sys/bus/pci/devices/0000:01:00.1/vendor": "0x10de\n",
        "/sys/bus/pci/devices/0000:01:00.1/class": "0x040300\n",
    }
    assert not look(MadeUp(files=files)).nvidia.is_there


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        (None, "within 10 s"),
        (Printed(18, "", "Failed to initialize NVML: Driver/library version mismatch\n"), "status 18: Failed to init"),
        (Printed(9, ""), "status 9: without a word"),
        (Printed(0, "No devices were found\n"), "1 of 4 values"),
    ],
)
def test_a_driver_that_does_not_answer_is_told_with_what_it_said(printed: Printed | None, complaint: str) -> None:
    machine = MadeUp(files=GPU_FILES, programs={"/usr/bin/nvidia-smi": printed})
    found = look(machine).nvidia
    assert found.gpus == ()
    assert complaint in found.complaint


def test_windows_own_device_stands_for_the_device_files() -> None:
    machine = MadeUp(files={"/dev/dxg": ""}, programs={"/usr/bin/nvidia-smi": Printed(0, SMI)})
    found = look(machine).nvidia
    assert (found.devices, found.driver, len(found.gpus)) == (("/dev/dxg",), "535.183.01", 1)


def test_render_devices_and_the_vulkan_loader_are_found() -> None:
    loader = "/usr/lib/x86_64-linux-gnu/libvulkan.so.1"
    assert look(MadeUp(files={"/dev/dri/renderD128": "", loader: ""})).vulkan == Vulkan(
        ("/dev/dri/renderD128",), loader
    )


@pytest.mark.parametrize(
    ("system", "machine", "has_metal"),
    [("Darwin", "arm64", True), ("Darwin", "x86_64", False), ("Linux", "arm64", False)],
)
def test_metal_is_where_apple_made_the_processor(system: str, machine: str, has_metal: bool) -> None:
    assert look(MadeUp(system, machine)).has_metal is has_metal


def test_the_engine_itself_says_what_it_can_compute_on() -> None:
    machine = MadeUp(programs={"/opt/llama-server": Printed(0, LISTS_CUDA)})
    assert look(machine, engine="/opt/llama-server").engine == HostEngine("/opt/llama-server", ("cuda",))
    assert machine.asked == [["/opt/llama-server", "--list-devices"]]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (LISTS_NONE, ()),
        (
            "Available devices:\n  MTL0: Apple M3 (27648 MiB, 1 MiB free)\n  BLAS: Accelerate (0 MiB, 0 MiB free)\n",
            ("metal",),
        ),
        ("Available devices:\n  Vulkan0: Iris (1 MiB, 1 MiB free)\n  Vulkan1: x (1 MiB, 1 MiB free)\n", ("vulkan",)),
        ("  CUDA0: noise before the list\n", ()),
        ("error: invalid argument: --list-devices\n", ()),
    ],
)
def test_only_the_list_of_devices_counts(text: str, kinds: tuple[str, ...]) -> None:
    assert listed_kinds(text) == kinds


@pytest.mark.parametrize(
    ("text", "version"),
    [(PROC_VERSION, "535.183.01"), (PROC_OPEN, "570.86.15"), ("", None), ("GCC version: 12.2.0", None)],
)
def test_the_loaded_drivers_version_is_read(text: str, version: str | None) -> None:
    assert driver_version(text) == version


@pytest.mark.parametrize(
    ("config", "takes"),
    [
        ("accept-nvidia-visible-devices-as-volume-mounts = true\n[nvidia-container-cli]\n", True),
        ("#accept-nvidia-visible-devices-as-volume-mounts = true\n", False),
        ("accept-nvidia-visible-devices-as-volume-mounts = false\n", False),
        ('accept-nvidia-visible-devices-as-volume-mounts = "true"\n', False),
        ("not toml at all [", False),
        ("", False),
    ],
)
def test_a_mount_may_ask_for_gpus_only_where_the_toolkit_says_so(config: str, takes: bool) -> None:
    assert takes_mounts(config) is takes


names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1).map(str.strip).filter(str.isprintable)
cards = st.lists(st.tuples(names.filter(bool), st.integers(1, 999_999_999) | st.none()), min_size=1, max_size=9)


@given(cards)
def test_whatever_gpus_are_called_they_are_read_back(written: list[tuple[str, int | None]]) -> None:
    text = "".join(
        f"{at}, {'[N/A]' if mib is None else mib}, 570.86.15, {name}\n" for at, (name, mib) in enumerate(written)
    )
    version, gpus = parse_smi(text)
    assert version == "570.86.15"
    assert gpus == tuple(Gpu(name, None if mib is None else mib * MIB) for name, mib in written)


@given(cards, st.data())
def test_a_list_that_lost_a_line_other_than_its_last_is_refused(
    written: list[tuple[str, int | None]], data: st.DataObject
) -> None:
    lines = [f"{at}, {mib or 1}, 570.86.15, {name}" for at, (name, mib) in enumerate(written)]
    lost = data.draw(st.integers(0, len(lines) - 1))
    left = lines[:lost] + lines[lost + 1 :]
    if lost == len(lines) - 1 and left:
        assert len(parse_smi("\n".join(left))[1]) == lost
        return
    with pytest.raises(ValueError, match=r"numbers GPU|names 0 drivers"):
        parse_smi("\n".join(left))


@given(st.text() | st.from_regex(r"[0-9]{1,3}, ?.{0,12}, ?[0-9.]{0,12}, ?.{0,12}"))
def test_any_other_text_is_refused_and_never_half_read(text: str) -> None:
    try:
        version, gpus = parse_smi(text)
    except ValueError:
        return
    assert gpus
    assert version.replace(".", "").isascii()
    assert all(gpu.name and (gpu.memory_bytes is None or gpu.memory_bytes >= 0) for gpu in gpus)


# Choosing

NOTHING = Accelerators("Linux", "x86_64")
READY_NVIDIA = Nvidia(True, "535.183.01", ("/dev/nvidia0",), (Gpu("NVIDIA GeForce RTX 4090", 24564 * MIB),))
GPU_HERE = replace(
    NOTHING,
    nvidia=READY_NVIDIA,
    toolkit=Toolkit("/usr/bin/nvidia-ctk", takes_mounts=True),
    containers=Containers(("nvidia", "runc"), "nvidia"),
    engine=HostEngine("/opt/llama-server", ("cuda",)),
)
MAC = Accelerators("Darwin", "arm64", engine=HostEngine("/opt/llama-server", ("metal",)))


def test_auto_takes_the_processor_where_there_is_nothing_else_and_says_so() -> None:
    assert choose("auto", NOTHING, "local").why == "CPU; no NVIDIA device, no Metal, no Vulkan device"
    assert choose("auto", NOTHING, "local").where == "host"
    assert choose("auto", NOTHING, "kind").where == "pod"


@pytest.mark.parametrize(
    ("found", "backend", "kind", "where"),
    [
        (GPU_HERE, "local", "cuda", "host"),
        (GPU_HERE, "kind", "cuda", "pod"),
        (MAC, "local", "metal", "host"),
        (MAC, "kind", "metal", "host"),
        (MAC, "context:far", "cpu", "pod"),
        (replace(MAC, engine=HostEngine("/opt/llama-server")), "kind", "cpu", "pod"),
        (replace(GPU_HERE, engine=HostEngine()), "local", "cpu", "host"),
        (replace(GPU_HERE, toolkit=Toolkit()), "kind", "cpu", "pod"),
    ],
)
def test_auto_takes_the_best_that_works_from_end_to_end(
    found: Accelerators, backend: str, kind: str, where: str
) -> None:
    choice = choose("auto", found, backend)
    assert (choice.kind, choice.where) == (kind, where)


def test_auto_says_why_hardware_that_is_there_is_not_used() -> None:
    why = choose("auto", replace(GPU_HERE, toolkit=Toolkit()), "kind").why
    assert why.startswith("CPU; CUDA is not used: NVIDIA's container toolkit is not installed")
    assert "\n" not in why


def test_vulkan_is_taken_locally_and_in_a_cluster_only_when_asked_for() -> None:
    found = replace(
        NOTHING, vulkan=Vulkan(("/dev/dri/renderD128",), "/lib/libvulkan.so.1"), engine=HostEngine("/e", ("vulkan",))
    )
    assert choose("auto", found, "local").kind == "vulkan"
    assert choose("auto", found, "kind").kind == "cpu"
    assert choose("vulkan", found, "kind").where == "host"


def test_an_engine_outside_the_cluster_is_always_said() -> None:
    assert "outside the cluster" in choose("auto", MAC, "kind").why
    assert "outside the cluster" in choose("cpu", NOTHING, "kind", where="host").why
    assert "outside" not in choose("auto", MAC, "local").why


def test_a_gpu_that_shares_the_machines_memory_is_named_without_a_size() -> None:
    shared = replace(GPU_HERE, nvidia=replace(READY_NVIDIA, gpus=(Gpu("NVIDIA GB10", None),)))
    assert choose("auto", shared, "local").why == "CUDA on NVIDIA GB10"


SILENT = replace(READY_NVIDIA, gpus=(), complaint="nvidia-smi ended with status 18: mismatch")


@pytest.mark.parametrize(
    ("found", "offer", "what", "mend"),
    [
        (NOTHING, None, "no NVIDIA device", "ACCELERATOR=auto"),
        (replace(GPU_HERE, nvidia=Nvidia(is_on_bus=True)), None, "driver is not loaded", "nvidia-driver"),
        (replace(GPU_HERE, nvidia=Nvidia(True, "535.1")), None, "no /dev/nvidia0", "nvidia-modprobe"),
        (replace(GPU_HERE, nvidia=SILENT), None, "does not answer .*status 18", "nvidia-smi"),
        (
            replace(GPU_HERE, toolkit=Toolkit()),
            None,
            "toolkit is not installed",
            "apt-get install nvidia-container-toolkit",
        ),
        (
            replace(GPU_HERE, containers=Containers(("runc",), "runc")),
            None,
            "no runtime named nvidia",
            "runtime=docker",
        ),
        (
            replace(GPU_HERE, containers=Containers(("nvidia", "runc"), "runc")),
            None,
            "default runtime is runc",
            "as-default",
        ),
        (replace(GPU_HERE, toolkit=Toolkit("/ctk")), None, "let a mount ask", "as-volume-mounts=true"),
        (GPU_HERE, ClusterOffer(node_has_devices=False), "without the device mount", "make down && make up"),
        (GPU_HERE, ClusterOffer(node_has_runtime=False), "no handler named nvidia", "make up"),
        (GPU_HERE, ClusterOffer(plugin_is_ready=False, gpus=0), "plugin is not ready", "nvidia-device-plugin"),
        (GPU_HERE, ClusterOffer(plugin_is_ready=True, gpus=0), "offers no nvidia.com/gpu", "nvidia-device-plugin"),
        (GPU_HERE, ClusterOffer(has_cuda_image=False), "no engine image with CUDA", "ACCELERATOR=cpu"),
    ],
)
def test_what_was_asked_for_is_refused_with_what_is_missing_and_what_mends_it(
    found: Accelerators, offer: ClusterOffer | None, what: str, mend: str
) -> None:
    with pytest.raises(AcceleratorUnavailable, match=what) as refusal:
        choose("cuda", found, "kind", offer=offer)
    assert mend in refusal.value.hint
    assert "CUDA was asked for" in refusal.value.message


def test_what_was_asked_for_is_given_where_nothing_is_missing() -> None:
    everything = ClusterOffer(True, True, True, 1, True)
    choice = choose("cuda", GPU_HERE, "kind", offer=everything)
    assert (choice.kind, choice.where) == ("cuda", "pod")
    assert choice.why == "CUDA on NVIDIA GeForce RTX 4090, 24.0 GiB: asked for in the settings"


def test_everything_that_is_missing_is_told_at_once() -> None:
    bare = replace(GPU_HERE, toolkit=Toolkit(), containers=Containers(("runc",), "runc"))
    with pytest.raises(AcceleratorUnavailable) as refusal:
        choose("cuda", bare, "kind")
    assert all(
        part in refusal.value.message for part in ("toolkit is not installed", "no runtime named", "let a mount")
    )


@pytest.mark.parametrize(
    ("asked", "found", "backend", "where", "what"),
    [
        ("metal", NOTHING, "local", None, "this is Linux x86_64"),
        ("metal", MAC, "kind", "pod", "can't be given to a container"),
        ("vulkan", NOTHING, "local", None, "no render device.*loader is not installed"),
        ("cuda", replace(GPU_HERE, engine=HostEngine("/opt/llama-server")), "local", None, "lists no CUDA device"),
        ("cuda", replace(GPU_HERE, engine=HostEngine()), "kind", "host", "no llama-server with CUDA"),
        ("cuda", GPU_HERE, "context:far", None, "was not asked"),
        ("cpu", NOTHING, "local", "pod", "no pods"),
        ("cpu", NOTHING, "context:far", "host", "cannot reach an engine on this machine"),
    ],
)
def test_what_cannot_be_in_that_place_is_refused(
    asked: str, found: Accelerators, backend: str, where: str | None, what: str
) -> None:
    with pytest.raises(AcceleratorUnavailable, match=what):
        choose(asked, found, backend, where=where)  # type: ignore[arg-type]  # parametrized


def test_a_cluster_elsewhere_is_taken_at_its_word_whatever_is_in_this_machine() -> None:
    offers = ClusterOffer(gpus=2, has_cuda_image=True)
    assert choose("cuda", NOTHING, "context:far", offer=offers).where == "pod"
    assert choose("auto", GPU_HERE, "context:far").kind == "cpu"


parts = st.fixed_dictionaries(
    {
        "nvidia": st.sampled_from([Nvidia(), Nvidia(True), Nvidia(True, "535.1"), SILENT, READY_NVIDIA]),
        "vulkan": st.sampled_from([Vulkan(), Vulkan(("/dev/dri/renderD128",), "/l")]),
        "toolkit": st.builds(Toolkit, st.sampled_from([None, "/ctk"]), st.booleans()),
        "containers": st.sampled_from([None, Containers(("runc",), "runc"), Containers(("nvidia",), "nvidia")]),
        "engine": st.builds(
            HostEngine,
            st.sampled_from([None, "/e"]),
            st.lists(st.sampled_from(["cuda", "metal"]), max_size=2).map(tuple),
        ),
    }
)
offers = st.none() | st.builds(
    ClusterOffer,
    *(st.none() | st.booleans() for _ in range(3)),
    st.none() | st.integers(0, 2),
    st.none() | st.booleans(),
)


@given(st.sampled_from([NOTHING, MAC]), parts, st.sampled_from(["local", "kind", "context:far"]), offers)
def test_auto_never_fails_and_never_takes_what_lacks_something(
    base: Accelerators, made: dict[str, object], backend: str, offer: ClusterOffer | None
) -> None:
    found = replace(base, **made)  # type: ignore[arg-type]  # named by parts
    choice = choose("auto", found, backend, offer=offer)
    assert missing(choice.kind, choice.where, found, backend, offer) == ()
    assert choice.why
    assert "\n" not in choice.why
    assert choose(choice.kind, found, backend, where=choice.where, offer=offer).kind == choice.kind


# The real adapter


def test_this_machine_answers() -> None:
    machine = ThisMachine()
    assert machine.system
    assert machine.machine
    assert machine.which(Path(sys.executable).name) or machine.exists(sys.executable)
    assert machine.read("/no/such/file") == ""
    assert machine.matching("/no/such/*") == ()
    printed = machine.run(
        [sys.executable, "-c", "import sys; print(7); sys.stderr.write('x'); sys.exit(3)"], deadline_s=30
    )
    assert printed == Printed(3, "7\n", "x")
    assert machine.run(["/no/such/program"], deadline_s=1) is None


def test_a_program_that_hangs_is_given_up() -> None:
    began = time.monotonic()
    assert ThisMachine().run([sys.executable, "-c", "import time; time.sleep(60)"], deadline_s=0.3) is None
    assert time.monotonic() - began < 20


def test_files_are_found_by_pattern(tmp_path: Path) -> None:
    for name in ("b1", "a1", "c"):
        (tmp_path / name).write_text(name)
    assert ThisMachine().matching(f"{tmp_path}/?1") == (f"{tmp_path}/a1", f"{tmp_path}/b1")
    assert ThisMachine().read(f"{tmp_path}/c") == "c"
