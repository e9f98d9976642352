"""Renders the chart with the real helm, and finds things in what comes out."""

import functools
import json
import pathlib
import subprocess

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "vllm-prod-stack"
RELEASE, NAMESPACE = "demo", "models"
PROGRAMS = ("router", "adapter", "autoscaler")
EMULATOR_VALUES = CHART / "values-emulator.yaml"


def values_files():
    """Every values file that must render."""
    return sorted((CHART / "ci").glob("*.yaml")) + [EMULATOR_VALUES]


def helm(*arguments, text=None):
    return subprocess.run(["helm", *map(str, arguments)], input=text, capture_output=True, text=True, check=False)


def template(values=None, files=()):
    """Runs `helm template` on a dict of values and files of values."""
    arguments = ["template", RELEASE, CHART, "--namespace", NAMESPACE]
    for file in files:
        arguments += ["--values", file]
    if values is None:
        return helm(*arguments)
    return helm(*arguments, "--values", "-", text=json.dumps(values))


def render(values=None, files=()):
    """The objects that a set of values gives."""
    result = template(values, files)
    if result.returncode != 0:
        raise AssertionError(f"helm template failed: {result.stderr}")
    return Objects(document for document in yaml.safe_load_all(result.stdout) if document)


@functools.cache
def render_file(path):
    return render(files=(path,))


def refusal(values):
    """What helm says to values that must not be accepted."""
    result = template(values)
    if result.returncode == 0:
        raise AssertionError("helm accepted values that it should refuse")
    return result.stderr


def notes(values=None):
    """What an install prints."""
    result = helm("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", "--values", "-", text=json.dumps(values or {}))
    if result.returncode != 0:
        raise AssertionError(result.stderr)
    return result.stdout.split("\nNOTES:\n", 1)[1]


class Objects(list):
    """Rendered objects."""

    def kind(self, *kinds):
        return [thing for thing in self if thing["kind"] in kinds]

    def get(self, kind, name):
        found = [thing for thing in self.kind(kind) if thing["metadata"]["name"] == name]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} objects {kind}/{name}; there are {[t['metadata']['name'] for t in self.kind(kind)]}")
        return found[0]

    def engine(self, model):
        return self.get("Deployment", f"{RELEASE}-{model}-deployment-vllm")

    def engines(self):
        return [d for d in self.kind("Deployment") if component(d) == "serving-engine"]

    def programs(self):
        return [d for d in self.kind("Deployment") if component(d) in PROGRAMS]

    def config(self, program):
        maps = [m for m in self.kind("ConfigMap") if f"{program}.yaml" in m.get("data", {})]
        return yaml.safe_load(maps[0]["data"][f"{program}.yaml"])


def component(thing):
    return thing["metadata"].get("labels", {}).get("app.kubernetes.io/component")


def pod(workload):
    return workload["spec"]["template"]


def container(workload):
    return pod(workload)["spec"]["containers"][0]


def flag(workload, name):
    """Value of a flag on an engine's command line, None without it."""
    arguments = container(workload)["args"]
    return arguments[arguments.index(name) + 1] if name in arguments else None


def model(**more):
    """The shortest entry of modelSpec, with more keys."""
    return {"name": "m", "repository": "vllm/vllm-openai", "modelURL": "org/m", **more}


def with_model(**more):
    return {"servingEngineSpec": {"modelSpec": [model(**more)]}}
