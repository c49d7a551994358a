"""Machine → what it has to compute with. Asks by files first, and by programs only where files promise an answer."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping

from sandbox.accelerators.facts import Accelerators, Containers, Gpu, HostEngine, Kind, Nvidia, Toolkit, Vulkan
from sandbox.accelerators.probing import Printed, Probe
from sandbox.units import MIB

ANSWER_S = 10.0
"""How long a program may take; nvidia-smi wakes a sleeping GPU, which takes seconds."""
VENDOR_NVIDIA = "0x10de"
CLASS_DISPLAY = "0x03"
"""First byte of a PCI class: a display controller, which every GPU is, with or without a screen."""
SMI_QUERY = ("--query-gpu=index,memory.total,driver_version,name", "--format=csv,noheader,nounits")
"""The name comes last, because it alone may have a comma."""
WSL_DEVICE = "/dev/dxg"
"""Windows' own GPU device, which stands for ``/dev/nvidia*`` in its Linux subsystem."""
TOOLKIT_CONFIG = "/etc/nvidia-container-runtime/config.toml"
MOUNTS_SETTING = "accept-nvidia-visible-devices-as-volume-mounts"
LOADERS = ("/usr/lib*/libvulkan.so.1", "/usr/lib/*-linux-gnu/libvulkan.so.1", "/usr/local/lib/libvulkan.so.1")
UNKNOWN = frozenset({"[N/A]", "[Not Supported]", "[Unknown Error]", "N/A"})
"""How nvidia-smi says that a number is not to be had."""
NAMES: Mapping[str, Kind] = {"CUDA": "cuda", "Vulkan": "vulkan", "MTL": "metal", "Metal": "metal"}
"""llama.cpp's names of devices, less their number, → ours."""

_DRIVER = re.compile(r"\b(\d{3,4}\.\d{1,4}(?:\.\d{1,4})?)\b")
_DEVICE = re.compile(r"^\s+([A-Za-z]+)\d*: ")


def look(machine: Probe, *, engine: str | None = None, containers: Containers | None = None) -> Accelerators:
    """Look at everything; never fails, what cannot be known is told as missing.

    Args:
        engine: a llama-server, which is asked what it can compute on.
        containers: what the Docker engine says of its runtimes, where it was asked.
    """
    return Accelerators(
        system=machine.system,
        machine=machine.machine,
        nvidia=_nvidia(machine),
        vulkan=_vulkan(machine),
        toolkit=_toolkit(machine),
        engine=_engine(machine, engine),
        containers=containers,
    )


def _nvidia(machine: Probe) -> Nvidia:
    is_on_bus = any(_is_nvidia_gpu(machine, path) for path in machine.matching("/sys/bus/pci/devices/*/vendor"))
    driver = driver_version(machine.read("/proc/driver/nvidia/version"))
    devices = machine.matching("/dev/nvidia[0-9]*")
    if machine.exists(WSL_DEVICE) and not devices:
        devices = (WSL_DEVICE,)
    if driver is None and not devices:
        # Without either there is no driver for the program to talk to, and some wrappers hang on that.
        return Nvidia(is_on_bus=is_on_bus)
    program = machine.which("nvidia-smi")
    if program is None:
        return Nvidia(is_on_bus, driver, devices, complaint="no nvidia-smi on PATH")
    printed = machine.run([program, *SMI_QUERY], deadline_s=ANSWER_S)
    complaint = _complaint_of(printed)
    if printed is None or complaint:
        return Nvidia(is_on_bus, driver, devices, complaint=complaint)
    try:
        version, gpus = parse_smi(printed.out)
    except ValueError as error:
        return Nvidia(is_on_bus, driver, devices, complaint=str(error))
    return Nvidia(is_on_bus, driver or version, devices, gpus)


def _is_nvidia_gpu(machine: Probe, vendor_path: str) -> bool:
    if machine.read(vendor_path).strip() != VENDOR_NVIDIA:
        return False
    return machine.read(vendor_path.removesuffix("vendor") + "class").startswith(CLASS_DISPLAY)


def _complaint_of(printed: Printed | None) -> str:
    if printed is None:
        return f"nvidia-smi did not answer within {ANSWER_S:.0f} s"
    if printed.status != 0:
        said = (printed.complaint or printed.out).strip().splitlines()
        return f"nvidia-smi ended with status {printed.status}: {said[0][:200] if said else 'without a word'}"
    return ""


def driver_version(text: str) -> str | None:
    """Take the version out of what the loaded driver says of itself in ``/proc``."""
    for line in text.splitlines():
        if line.startswith("NVRM version:") and (found := _DRIVER.search(line)):
            return found.group(1)
    return None


def parse_smi(text: str) -> tuple[str, tuple[Gpu, ...]]:
    """Read the answer to ``SMI_QUERY``: the driver's version and every GPU.

    Raises:
        ValueError: a line is not as asked for; half a list would be worse than none.
    """
    gpus: list[Gpu] = []
    versions: set[str] = set()
    for at, line in enumerate(line for line in text.splitlines() if line.strip()):
        index, memory, version, name = _smi_fields(line)
        if index != str(at):
            raise ValueError(f"nvidia-smi numbers GPU {at} as {index!r}")
        versions.add(version)
        gpus.append(Gpu(name, None if memory in UNKNOWN else int(memory) * MIB))
    if len(versions) != 1:
        raise ValueError(f"nvidia-smi names {len(versions)} drivers, not one")
    return versions.pop(), tuple(gpus)


def _smi_fields(line: str) -> tuple[str, str, str, str]:
    fields = [field.strip() for field in line.split(",", 3)]
    if len(fields) != 4:
        raise ValueError(f"nvidia-smi gives {len(fields)} of 4 values in {line[:100]!r}")
    index, memory, version, name = fields
    # ASCII only: str.isdigit takes other alphabets' digits too, and int() makes numbers of them.
    if memory not in UNKNOWN and not re.fullmatch(r"[0-9]{1,9}", memory):
        raise ValueError(f"nvidia-smi gives {memory[:40]!r} as memory")
    if not _DRIVER.fullmatch(version):
        raise ValueError(f"nvidia-smi gives {version[:40]!r} as the driver's version")
    if not name or not name.isprintable():
        raise ValueError(f"nvidia-smi gives {name[:40]!r} as a name")
    return index, memory, version, name


def _vulkan(machine: Probe) -> Vulkan:
    found = [path for pattern in LOADERS for path in machine.matching(pattern)]
    return Vulkan(devices=machine.matching("/dev/dri/renderD*"), loader=found[0] if found else None)


def _toolkit(machine: Probe) -> Toolkit:
    return Toolkit(machine.which("nvidia-ctk"), takes_mounts=takes_mounts(machine.read(TOOLKIT_CONFIG)))


def takes_mounts(config: str) -> bool:
    """Read from the toolkit's configuration whether a mount may ask for GPUs; by default none may."""
    try:
        return tomllib.loads(config).get(MOUNTS_SETTING) is True
    except tomllib.TOMLDecodeError:
        return False


def _engine(machine: Probe, program: str | None) -> HostEngine:
    if program is None:
        return HostEngine()
    printed = machine.run([program, "--list-devices"], deadline_s=ANSWER_S)
    if printed is None or printed.status != 0:
        return HostEngine(program)
    return HostEngine(program, listed_kinds(printed.out))


def listed_kinds(text: str) -> tuple[Kind, ...]:
    """Read from ``llama-server --list-devices`` what it can compute on, each kind once, in its order."""
    _, heading, listing = text.partition("Available devices:")
    if not heading:
        return ()
    names = [found.group(1) for line in listing.splitlines() if (found := _DEVICE.match(line))]
    return tuple(dict.fromkeys(NAMES[name] for name in names if name in NAMES))
