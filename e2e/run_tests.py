#!/usr/bin/env python3
"""Runs the test stages in order, says what took how long, and closes with one line of counts.

    run_tests.py all | unit | chart | e2e

A cluster test needs root (it makes its own network namespace) or E2E_KUBECONFIG; without both it is listed as skipped,
and with CI=true a skip is a failure. Everything else needs only what e2e/install-tools.sh installs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.M)
FAILURE = re.compile(r"^(?:thread '.*' panicked at .*|test .* \.\.\. FAILED|.* FAILED: .*|Error: .*)(?:\n(?!test |---|thread ).+)?", re.M)
PLAIN = re.compile(r"^(?:\w+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.M)
PURE = ["adapter-api", "adapter-core", "autoscaler-forecast", "autoscaler-plan", "autoscaler-sim", "engine-model", "router-core"]
IMPURE = {"tokio", "kube", "hyper", "reqwest", "axum"}


class Report:
    """Counts of all stages and their times in seconds."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.times = []
        self.failures = []

    def add(self, passed, failed, skipped=0):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped


def run(command, **options):
    """Runs a command with its output shown as it comes; returns (exit code, output)."""
    process = subprocess.Popen(command, cwd=options.get("cwd", ROOT), env=options.get("env"), text=True, errors="replace",
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if not options.get("quiet"):
            print(line, end="", flush=True)
    code = process.wait()
    if code and options.get("quiet"):
        print("".join(lines), flush=True)
    return code, "".join(lines)


def stage(report, name, work):
    """Runs one stage and notes its time; a stage without counts of its own counts as one check."""
    print(f"\n==> {name}", flush=True)
    began, before = time.monotonic(), report.passed + report.failed + report.skipped
    try:
        ok = work(report)
    except OSError as error:
        print(f"{name}: {error}")
        ok = False
    if report.passed + report.failed + report.skipped == before or (not ok and not report.failed):
        report.add(int(ok), int(not ok))
    report.times.append((name, time.monotonic() - began, ok))
    return ok


def command_stage(*command):
    def work(report):
        code, output = run(list(command))
        for counts in PLAIN.findall(output):
            report.add(*(int(count or 0) for count in counts))
        return code == 0
    return work


def purity(_report):
    """The pure crates reach no runtime, client or server, directly or through others."""
    ok = True
    for crate in PURE:
        code, output = run(["cargo", "tree", "-p", crate, "-e", "normal", "--prefix", "none"], quiet=True)
        found = IMPURE & {line.split()[0] for line in output.splitlines() if line.strip()}
        if code or found:
            print(f"{crate} is not pure: it depends on {', '.join(sorted(found)) or 'an error'}")
            ok = False
    return ok


def build_tests():
    """Builds all tests and programs once; returns [(package, target, executable, folder)]."""
    code, _ = run(["cargo", "build", "--workspace", "--bins"])
    if code:
        return None
    command = ["cargo", "test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        return None
    found = []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message.get("profile", {}).get("test"):
            folder = Path(message["manifest_path"]).parent
            found.append((folder.relative_to(ROOT).as_posix(), message["target"]["name"], message["executable"], folder))
    return sorted(found)


def run_test_programs(tests, wrapper=(), arguments=()):
    def work(report):
        ok = True
        for package, target, executable, folder in tests:
            print(f"--- {package}: {target}", flush=True)
            code, output = run([*wrapper, executable, *arguments], cwd=folder)
            counts = RESULT.findall(output)
            skips = len(re.findall(r"^skipped: ", output, re.M))
            for passed, failed, ignored in counts:
                report.add(int(passed), int(failed), int(ignored))
            if skips:
                print(f"{package}: {target}: {skips} parts skipped, see above")
            if code:
                report.failures += [f"{package}: {target}: {found.group(0)[:600]}" for found in FAILURE.finditer(output)]
            if code and not any(int(failed) for _, failed, _ in counts):
                report.add(0, 1)
            ok &= code == 0
        return ok
    return work


def cluster(tests):
    """Cluster tests, through the harness that starts the cluster and enters its network namespace."""
    def work(report):
        if os.geteuid() != 0 and not os.environ.get("E2E_KUBECONFIG"):
            print("skipped: cluster tests need root (they make a network namespace) or E2E_KUBECONFIG")
            report.add(0, 0, len(tests))
            return os.environ.get("CI") != "true"
        harness = [str(ROOT / "e2e/cluster/cluster.sh"), "test"]
        return run_test_programs(tests, harness)(report)
    return work


def stages(report, which):
    """Yields nothing; runs what `which` names and stops at the first stage that later ones cannot do without."""
    everything = which == "all"
    if not stage(report, "tools", command_stage("e2e/install-tools.sh", which)):
        return
    if everything or which == "unit":
        stage(report, "format", command_stage("cargo", "fmt", "--all", "--check"))
        stage(report, "purity of the core crates", purity)
    tests = []
    if which != "chart":
        def build(_report):
            built = build_tests()
            tests.extend(built or [])
            return built is not None
        if not stage(report, "build", build):
            return
    if everything or which == "unit":
        stage(report, "clippy", command_stage("cargo", "clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"))
        ours = [test for test in tests if test[0] != "e2e"]
        stage(report, "unit and conformance tests", run_test_programs(ours))
    if everything or which == "chart":
        stage(report, "chart", command_stage("charts/test.sh"))
        stage(report, "dashboards and rules", command_stage("dashboards/check.sh"))
    if everything or which == "e2e":
        of_e2e = {test[1]: test for test in tests if test[0] == "e2e"}
        clustered = [test for name, test in of_e2e.items() if name == "cluster"]
        others = [test for name, test in sorted(of_e2e.items()) if name != "cluster"]
        stage(report, "end-to-end: standalone, real engine", run_test_programs(others, arguments=["--test-threads=1"]))
        stage(report, "end-to-end: cluster", cluster(clustered))


def main():
    which = sys.argv[1] if len(sys.argv) == 2 else ""
    if which not in {"all", "unit", "chart", "e2e"}:
        sys.exit(__doc__)
    if not shutil.which("cargo"):
        sys.exit("cargo is not installed; install Rust through rustup (https://rustup.rs), then run this again")
    report, began = Report(), time.monotonic()
    stages(report, which)
    if report.failures:
        print("\nfailures in brief")
        print("\n".join(report.failures[:40]))
    print("\nstage                                        seconds")
    for name, seconds, ok in report.times:
        print(f"{name:44} {seconds:7.1f}{'' if ok else '  FAILED'}")
    print(f"{'in all':44} {time.monotonic() - began:7.1f}\n")
    ok = not report.failed and all(ok for _, _, ok in report.times)
    if not ok and not report.failed:
        report.add(0, 1)
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
