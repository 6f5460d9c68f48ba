"""What a device says, is asked and answers: examples for tests of documents and of what reads them."""

from __future__ import annotations

from edgeprune.core.device_run import DeviceRun, FileRun, Job, JobFile, MachineState, OperatorTime
from edgeprune.core.diagnosis import Diagnosis, Obstacle
from edgeprune.core.survey import Python, Survey
from edgeprune.core.timing import Timing
from edgeprune.core.transcript import Exchange, Transcript

SURVEY = Survey(
    address="pi@board",
    name="board",
    system="Linux",
    machine="aarch64",
    model="Raspberry Pi 4 Model B Rev 1.4",
    cpu="",
    kernel="6.6.31",
    libc="glibc 2.36",
    cores=4,
    core_clocks_mhz=(1800.0, 1800.0, 1800.0, 1800.0),
    governor="ondemand",
    clock_mhz=600.0,
    temperature_c=48.5,
    throttled_bits=0,
    load_average=0.1,
    memory_bytes=4_000_000_000,
    free_bytes=20_000_000_000,
    superuser=False,
    pythons=(Python(path="/usr/bin/python3", version="3.11.2", packages={"numpy": "1.24.2"}),),
)
DIAGNOSIS = Diagnosis(
    survey=SURVEY,
    target="rpi4",
    fits=True,
    obstacles=(Obstacle(matter="it is busy", next_step="wait", blocks=False),),
)
JOB = Job(
    files=(JobFile(path="0.onnx", format="onnx", inputs="inputs0.npy", outputs="outputs0.npy"),),
    threads=(4, 1),
    governor="performance",
)
RUN = DeviceRun(
    python="3.11.2",
    governor="performance",
    pinned_cores=(4, 5),
    before=MachineState(clock_mhz=1800.0, temperature_c=48.5, throttled_bits=0),
    after=MachineState(clock_mhz=1800.0, temperature_c=55.0, throttled_bits=0),
    files=(
        FileRun(
            path="0.onnx",
            runtime="onnxruntime",
            runtime_version="1.22",
            load_ms=20.0,
            first_ms=3.0,
            deviation=1e-7,
            timings=(Timing(samples_ns=(1_000_000, 1_100_000), warmup=40, threads=4),),
            peak_memory_bytes=60_000_000,
            runtime_memory_bytes=50_000_000,
            operators=(OperatorTime(operator="Conv", ms=0.5, calls=3),),
        ),
    ),
)
TRANSCRIPT = Transcript(
    exchanges=(
        Exchange(
            command=("cat", "a b"),
            cwd="/tmp",
            stdin_sha256="",
            exit_code=0,
            stdout="c",
            stderr="",
            binary=False,
            seconds=0.5,
        ),
    )
)
DEVICE_EXAMPLES = (SURVEY, DIAGNOSIS, JOB, RUN, TRANSCRIPT)
