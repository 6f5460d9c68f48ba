"""Surveys: what a device says of itself, and what that means for measuring on it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.protocols import Link
from edgeprune.core.report import Device
from edgeprune.core.target import Target

_SECONDS = 60.0
# Arguments: the scratch folder, the program that lists packages, perhaps a Python to look at first.
_QUESTIONS = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
first() { [ -r "$1" ] && tr -d '\000' < "$1" 2>/dev/null | head -n 1; }
scratch=$1; packages=$2; shift 2
say name "$(uname -n)"; say machine "$(uname -m)"; say kernel "$(uname -r)"
if command -v getprop >/dev/null 2>&1; then
  say system Android; say model "$(getprop ro.product.model)"; say libc bionic
else
  say system "$(uname -s)"
fi
for file in /proc/device-tree/model /sys/firmware/devicetree/base/model; do say model "$(first $file)"; done
say cpu "$(sed -n 's/^model name[[:space:]]*: *//p' /proc/cpuinfo 2>/dev/null | head -n 1)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
for one in /lib/libc.so.6 /lib64/libc.so.6 /lib/*/libc.so.6; do
  [ -x "$one" ] && say libc "$("$one" 2>/dev/null | sed -n '1s/.* version \([0-9]*\.[0-9]*\).*/glibc \1/p')"
done
say libc "$(ldd --version 2>&1 | grep -io -m 1 musl)"
say cores "$(grep -c '^processor' /proc/cpuinfo)"
say now_mhz "$(sed -n 's/^cpu MHz[[:space:]]*: *//p' /proc/cpuinfo | head -n 1)"
for cpu in /sys/devices/system/cpu/cpu[0-9]*/cpufreq; do say max_khz "$(first "$cpu/cpuinfo_max_freq")"; done
say governor "$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
say now_khz "$(first /sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq)"
for zone in /sys/class/thermal/thermal_zone*; do
  [ -r "$zone/temp" ] && say zone "$(first "$zone/type")=$(first "$zone/temp")"
done
say throttled "$(first /sys/devices/platform/soc/soc:firmware/get_throttled)"
say throttled "$(vcgencmd get_throttled 2>/dev/null)"
say load "$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null)"
say memory_kb "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo)"
df -Pk "$scratch" 2>/dev/null | { read -r head; read -r disk size used free on; say free_kb "$free"; }
say user "$(id -u)"
for python in "$@" python3 python; do
  path=$(command -v "$python" 2>/dev/null) && say python "$("$path" -c "$packages" "$path" 2>/dev/null)"
done
exit 0
"""
_PACKAGES = """
import sys
from importlib.metadata import PackageNotFoundError, version
words = [sys.argv[1], ".".join(map(str, sys.version_info[:3]))]
for name in ("numpy", "onnxruntime", "ai-edge-litert", "tflite-runtime"):
    try:
        words.append(name + "=" + version(name))
    except PackageNotFoundError:
        pass
print("\\t".join(words))
"""


class Python(Document):
    """An interpreter on a device, and the packages of ours that it has."""

    path: str
    version: str
    packages: dict[str, str] = Field(description="version by name, of numpy and the runtimes")

    def runtime_for(self, format: str) -> str | None:
        """The package that runs a format, if it is there with numpy."""
        wanted = {"onnx": ("onnxruntime",), "tflite": ("ai-edge-litert", "tflite-runtime")}.get(format, ())
        found = [name for name in wanted if name in self.packages and "numpy" in self.packages]
        return found[0] if found else None


class Survey(Document):
    """Facts about a device (`edgeprune device doctor`); null or '' where it does not say."""

    kind: Literal["device/1"] = "device/1"
    address: str
    name: str = Field(description="as it calls itself in its network")
    system: str
    machine: str
    model: str = Field(description="of the board or phone")
    cpu: str
    kernel: str
    libc: str = Field(description="'glibc 2.36', 'musl', 'bionic'")
    cores: int
    core_clocks_mhz: tuple[float, ...] = Field(description="the highest of every core")
    governor: str | None
    clock_mhz: float | None
    temperature_c: float | None
    throttled_bits: int | None = Field(default=None, description="the Raspberry Pi firmware's word")
    load_average: float | None
    memory_bytes: int | None
    free_bytes: int | None = Field(description="where edgeprune puts its files")
    superuser: bool
    pythons: tuple[Python, ...]

    def fits(self, target: Target) -> bool:
        """Whether a latency measured there is the target's."""
        return target.fits(system=self.system, machine=self.machine, model=self.model)

    @property
    def title(self) -> str:
        """Its name and what it is."""
        return f"{self.name} ({self.model or self.cpu or self.machine})"

    def device(self) -> Device:
        """The facts that a latency is told with."""
        return Device(
            name=self.title,
            machine=self.machine,
            cpu=self.cpu or self.model or self.machine,
            cores=self.cores,
            governor=self.governor,
            clock_mhz=self.clock_mhz,
            temperature_c=self.temperature_c,
            load_average=self.load_average,
        )


def survey(link: Link, address: str, *, python: str = "") -> Survey:
    """Ask a device about itself with one command, which needs nothing but a POSIX shell.

    `python` is looked at before those on the device's path. Raises DeviceError.
    """
    command = ["sh", "-c", _QUESTIONS, "sh", str(link.scratch), _PACKAGES, *([python] if python else [])]
    done = link.shell.run(command, timeout=_SECONDS).require(f"{address}: says nothing of itself")
    told: dict[str, list[str]] = {}
    for line in done.text().splitlines():
        key, tab, value = line.partition("\t")
        if tab and value.strip():
            told.setdefault(key, []).append(value.strip())

    def first(key: str) -> str:
        return told.get(key, [""])[0]

    def number(key: str, scale: float = 1.0) -> float | None:
        value = first(key)
        return float(value) * scale if value.lstrip("-").replace(".", "", 1).isdigit() else None

    bits = first("throttled").partition("=")[2] or first("throttled")
    return Survey(
        address=address,
        name=first("name") or address,
        system=first("system"),
        machine=first("machine"),
        model=first("model"),
        cpu=first("cpu"),
        kernel=first("kernel"),
        libc=first("libc"),
        cores=int(number("cores") or 1),
        core_clocks_mhz=tuple(float(one) / 1000 for one in told.get("max_khz", [])),
        governor=first("governor") or None,
        clock_mhz=number("now_khz", 1e-3) or number("now_mhz"),
        temperature_c=_temperature(told.get("zone", [])),
        throttled_bits=int(bits, 16) if bits else None,
        load_average=number("load"),
        memory_bytes=int(number("memory_kb", 1024) or 0) or None,
        free_bytes=int(number("free_kb", 1024) or 0) if first("free_kb") else None,
        superuser=first("user") == "0",
        pythons=tuple(_python(line) for line in dict.fromkeys(told.get("python", []))),
    )


def _temperature(zones: list[str]) -> float | None:
    """Of the processor where a zone says that it is its own, else of the first zone."""
    read = [
        (name, float(value) / 1000) for name, _, value in (zone.partition("=") for zone in zones) if value
    ]
    own = [value for name, value in read if any(word in name for word in ("cpu", "soc", "pkg"))]
    return max(own) if own else read[0][1] if read else None


def _python(line: str) -> Python:
    path, version, *packages = line.split("\t")
    return Python(path=path, version=version, packages=dict(one.split("=", 1) for one in packages))
