"""Worker: answers for one TFLite file in an environment that has tflite-runtime and an old numpy.

Run by the path of this file, in another Python: it knows nothing of edgeprune. Standard input and output
carry a line each way (`infer`, `time WARMUP RUNS`; `ok`, or `error: why` and nothing more), then a line that
says how many bytes follow, and an array in numpy's format.
"""

import io
import sys
import time

import numpy as np
from tflite_runtime import __version__ as version
from tflite_runtime.interpreter import Interpreter


def main(path, threads):
    """Load the file, then answer until standard input ends."""
    interpreter = Interpreter(path, num_threads=int(threads))
    interpreter.allocate_tensors()
    source, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    say(f"ok {version}", np.asarray(source["shape"], np.int64))
    while line := sys.stdin.buffer.readline().decode().split():
        inputs = np.load(
            io.BytesIO(sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))), allow_pickle=False
        )

        def single(one):
            interpreter.set_tensor(source["index"], one)
            interpreter.invoke()
            return interpreter.get_tensor(answer["index"])

        if line[0] == "infer":
            say("ok", np.concatenate([single(inputs[place : place + 1]) for place in range(len(inputs))]))
        else:
            say("ok", timed(single, inputs, *map(int, line[1:])))


def timed(single, one, warmup, runs):
    """Durations of `runs` single inferences, nanoseconds."""
    for _ in range(warmup):
        single(one)
    samples = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        single(one)
        samples.append(time.perf_counter_ns() - start)
    return np.asarray(samples, np.int64)


def say(line, array):
    """A line, and an array."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    packed = content.getvalue()
    sys.stdout.buffer.write(f"{line}\n{len(packed)}\n".encode() + packed)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, RuntimeError) as refusal:
        text = " ".join(str(refusal).split())
        sys.stdout.buffer.write(f"error: {text}\n".encode())
        sys.stdout.buffer.flush()
