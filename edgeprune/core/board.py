"""Boards: what an emulated device says about its processor, so that runtimes choose that core's kernels.

Runtimes read the core type from `/proc/cpuinfo` and the instruction set from the kernel; both must agree with
the core that qemu plays, or another core's kernels run. Identities: the Arm MIDR numbers of the cores.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.errors import RequestError, did_you_mean

_V8 = "fp asimd evtstrm crc32 cpuid"
_V82 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


@dataclass(frozen=True, slots=True)
class Core:
    """Cores of one kind: how many, what they are called in hardware, and their clocks."""

    count: int
    part: int
    variant: int
    revision: int
    min_khz: int
    max_khz: int


@dataclass(frozen=True, slots=True)
class Board:
    """One device as it is emulated; `processor` is qemu's name of the core that every thread runs on."""

    name: str
    title: str
    processor: str
    cores: tuple[Core, ...]
    features: str
    memory_mib: int


BOARDS = {
    board.name: board
    for board in (
        Board(
            "rpi-zero-2w",
            "Raspberry Pi Zero 2 W Rev 1.0",
            "cortex-a53",
            (Core(4, 0xD03, 0, 4, 600_000, 1_000_000),),
            _V8,
            512,
        ),
        Board(
            "rpi3",
            "Raspberry Pi 3 Model B Plus Rev 1.3",
            "cortex-a53",
            (Core(4, 0xD03, 0, 4, 600_000, 1_400_000),),
            _V8,
            1024,
        ),
        Board(
            "rpi4",
            "Raspberry Pi 4 Model B Rev 1.4",
            "cortex-a72",
            (Core(4, 0xD08, 0, 3, 600_000, 1_800_000),),
            _V8,
            4096,
        ),
        Board(
            "rpi5",
            "Raspberry Pi 5 Model B Rev 1.0",
            "cortex-a76",
            (Core(4, 0xD0B, 4, 1, 1_500_000, 2_400_000),),
            _V82,
            8192,
        ),
        # Little cores first, as phones number them; qemu 7.2 has no Cortex-A55, so all run as big ones.
        Board(
            "phone",
            "Phone with four Cortex-A55 and four Cortex-A76",
            "cortex-a76",
            (Core(4, 0xD05, 1, 0, 300_000, 1_800_000), Core(4, 0xD0B, 3, 0, 700_000, 2_400_000)),
            _V82,
            6144,
        ),
    )
}


def find_board(name: str) -> Board:
    """A board by name.

    Raises
    ------
    RequestError
        There is no such board.
    """
    if name not in BOARDS:
        raise RequestError(f"no emulated board '{name}'", hint=did_you_mean(name, BOARDS))
    return BOARDS[name]


def write_board(board: Board, folder: Path) -> None:
    """Write what the board says below `/proc` and `/sys` into a folder of the same shape."""
    blocks, number = [], 0
    cpus = folder / "sys/devices/system/cpu"
    for cluster, core in enumerate(board.cores):
        members = f"{number}-{number + core.count - 1}"
        for _ in range(core.count):
            blocks.append(_cpuinfo(number, board, core))
            _write_core(cpus / f"cpu{number}", number, cluster, members, core)
            number += 1
    last = number - 1
    for name in ("possible", "present", "online"):
        _write(cpus / name, f"0-{last}\n")
    _write(cpus / "kernel_max", f"{last}\n")
    _write(folder / "proc/cpuinfo", "\n".join([*blocks, f"Model\t\t: {board.title}\n"]))
    kib = board.memory_mib * 1024
    _write(folder / "proc/meminfo", _meminfo(kib))
    _write(folder / "sys/firmware/devicetree/base/model", f"{board.title}\0")
    _write(folder / "proc/device-tree/model", f"{board.title}\0")
    _write(folder / "sys/class/thermal/thermal_zone0/type", "cpu-thermal\n")
    _write(folder / "sys/class/thermal/thermal_zone0/temp", "45000\n")


def _cpuinfo(number: int, board: Board, core: Core) -> str:
    lines = {
        "processor\t": number,
        "BogoMIPS\t": "108.00",
        "Features\t": board.features,
        "CPU implementer\t": "0x41",
        "CPU architecture": 8,
        "CPU variant\t": f"0x{core.variant:x}",
        "CPU part\t": f"0x{core.part:x}",
        "CPU revision\t": core.revision,
    }
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


def _write_core(folder: Path, number: int, cluster: int, members: str, core: Core) -> None:
    for name, text in {
        "cpufreq/cpuinfo_min_freq": core.min_khz,
        "cpufreq/cpuinfo_max_freq": core.max_khz,
        "cpufreq/scaling_cur_freq": core.max_khz,
        "cpufreq/scaling_governor": "performance",
        "topology/physical_package_id": cluster,
        "topology/core_id": number,
        "topology/core_siblings_list": members,
        "topology/cluster_cpus_list": members,
        "topology/thread_siblings_list": number,
    }.items():
        _write(folder / name, f"{text}\n")


def _meminfo(kib: int) -> str:
    return "".join(
        f"{name}:{value:>15d} kB\n"
        for name, value in {"MemTotal": kib, "MemFree": kib * 3 // 4, "MemAvailable": kib * 4 // 5}.items()
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
