"""The chart as a whole: NOTES, hooks, packaging, monitoring objects, uninstall."""

import json
import pathlib
import tarfile
import tempfile
import unittest

import yaml

from chart import CHART, EMULATOR_VALUES, NAMESPACE, RELEASE, REPOSITORY, helm, notes, render, render_file, values_files, with_model

EVERYTHING = CHART / "ci" / "everything-values.yaml"
DASHBOARDS = REPOSITORY / "dashboards"


class Notes(unittest.TestCase):
    def test_without_models_the_next_step_is_named(self):
        text = notes()
        self.assertIn("NO ENGINES YET", text)
        self.assertIn("values-emulator.yaml", text)

    def test_the_example_in_the_notes_is_accepted_by_the_chart(self):
        text = notes().split("servingEngineSpec:", 1)[1].split("helm upgrade", 1)[0]
        render(yaml.safe_load("servingEngineSpec:" + text))

    def test_every_production_stack_key_without_effect_is_named(self):
        text = notes(yaml.safe_load((CHART / "ci" / "production-stack-values.yaml").read_text()))
        for key in ("routerSpec.routingLogic", "routerSpec.repository", "servingEngineSpec.modelSpec[1].vllmConfig.v1"):
            self.assertIn(key, text)

    def test_a_volume_for_one_node_under_several_engines_is_pointed_out(self):
        text = notes(with_model(replicaCount=2, pvcStorage="1Gi"))
        self.assertIn("ReadWriteMany", text)

    def test_without_registration_the_notes_say_that_hpas_see_nothing(self):
        self.assertIn("adapter.apiService.create=false", notes({"adapter": {"apiService": {"create": False}}}))


class Release(unittest.TestCase):
    def test_every_object_says_which_release_it_belongs_to(self):
        for file in values_files():
            for thing in render_file(file):
                if thing["metadata"]["name"] not in {"demo-extra", "demo-text"}:
                    self.assertEqual(thing["metadata"]["labels"]["app.kubernetes.io/instance"], RELEASE)

    def test_names_are_unique_and_fit_a_label(self):
        for file in values_files():
            seen = set()
            for thing in render_file(file):
                identity = (thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"])
                self.assertNotIn(identity, seen)
                seen.add(identity)
                self.assertLessEqual(len(thing["metadata"]["name"]), 63)

    def test_the_crd_is_applied_by_a_hook_that_leaves_nothing(self):
        hooks = [t for t in render(with_model()) if t["metadata"].get("annotations", {}).get("helm.sh/hook", "test") != "test"]
        self.assertEqual(sorted(t["kind"] for t in hooks), ["ClusterRole", "ClusterRoleBinding", "Job", "ServiceAccount"])
        for thing in hooks:
            annotations = thing["metadata"]["annotations"]
            self.assertEqual(annotations["helm.sh/hook"], "pre-install,pre-upgrade")
            self.assertEqual(annotations["helm.sh/hook-delete-policy"], "before-hook-creation,hook-succeeded")
        weights = {t["kind"]: int(t["metadata"]["annotations"]["helm.sh/hook-weight"]) for t in hooks}
        self.assertTrue(all(weights[kind] < weights["Job"] for kind in weights if kind != "Job"))

    def test_the_crd_is_shipped_and_is_the_kind_that_the_chart_renders(self):
        crd = yaml.safe_load((CHART / "crds" / "engineautoscalers.yaml").read_text())
        self.assertEqual(crd["metadata"]["name"], "engineautoscalers.autoscaling.vllm-prod-stack.io")
        self.assertIn("v1alpha1", [version["name"] for version in crd["spec"]["versions"]])

    def test_rendered_engine_autoscalers_fit_the_shipped_crd(self):
        import jsonschema
        crd = yaml.safe_load((CHART / "crds" / "engineautoscalers.yaml").read_text())
        schema = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
        for file in (EVERYTHING, EMULATOR_VALUES):
            for thing in render_file(file).kind("EngineAutoscaler"):
                jsonschema.validate(thing["spec"], schema)

    def test_values_know_every_field_of_the_crd(self):
        crd = yaml.safe_load((CHART / "crds" / "engineautoscalers.yaml").read_text())
        fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
        schema = json.loads((CHART / "values.schema.json").read_text())["$defs"]["engineAutoscaler"]["properties"]
        filled_in = {"scaleTargetRef", "servedModelName", "minReplicas", "maxReplicas", "objective"}
        self.assertEqual(set(schema), set(fields) - filled_in)

    def test_the_api_service_carries_no_insecure_shortcut(self):
        service = render(with_model()).get("APIService", "v1beta1.external.metrics.k8s.io")["spec"]
        self.assertNotIn("insecureSkipTLSVerify", service)
        self.assertEqual(service["service"], {"name": "demo-adapter", "namespace": NAMESPACE, "port": 443})

    def test_the_api_service_is_left_out_when_it_is_not_wanted(self):
        objects = render({"adapter": {"apiService": {"create": False}}})
        self.assertEqual(objects.kind("APIService"), [])
        self.assertNotIn("apiServices", objects.config("adapter")["server"])


def strict(schema):
    """The schema with unknown fields refused: the API server would drop them silently."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if schema.get("type") == "object" and "properties" in schema:
            schema.setdefault("additionalProperties", False)
        if schema.pop("nullable", False) and isinstance(schema.get("type"), str):
            schema["type"] = [schema["type"], "null"]
    elif isinstance(schema, list):
        schema = [strict(value) for value in schema]
    return schema


class Package(unittest.TestCase):
    def test_a_packaged_chart_holds_dashboard_rules_and_crd_and_renders_the_same(self):
        with tempfile.TemporaryDirectory() as folder:
            packed = helm("package", CHART, "--destination", folder)
            self.assertEqual(packed.returncode, 0, packed.stderr)
            archive = next(pathlib.Path(folder).glob("*.tgz"))
            with tarfile.open(archive) as tar:
                members = {member.name: member for member in tar.getmembers()}
            for name in ("files/overview.json", "files/rules/alerts.yaml", "files/rules/recording.yaml", "values.schema.json",
                         "values-emulator.yaml", "crds/engineautoscalers.yaml"):
                self.assertTrue(members[f"vllm-prod-stack/{name}"].isfile(), name)
            arguments = ("--namespace", NAMESPACE, "--values", EVERYTHING)
            self.assertEqual(helm("template", RELEASE, archive, *arguments).stdout, helm("template", RELEASE, CHART, *arguments).stdout)

    def test_the_dashboard_in_the_config_map_is_the_dashboard(self):
        config = render(with_model()).get("ConfigMap", "demo-dashboards")
        self.assertEqual(config["metadata"]["labels"]["grafana_dashboard"], "1")
        dashboard = json.loads(config["data"]["vllm-prod-stack-overview.json"])
        self.assertEqual(dashboard, json.loads((DASHBOARDS / "overview.json").read_text()))

    def test_the_rules_in_the_prometheus_rules_are_the_rules(self):
        objects = render_file(EVERYTHING)
        for name in ("recording", "alerts"):
            rule = objects.get("PrometheusRule", f"demo-{name}")
            self.assertEqual(rule["spec"], yaml.safe_load((DASHBOARDS / "rules" / f"{name}.yaml").read_text()))
            self.assertEqual(rule["metadata"]["labels"]["release"], "prometheus")


class Scraping(unittest.TestCase):
    def test_annotations_name_the_port_that_serves_metrics(self):
        for workload in render(with_model()).kind("Deployment"):
            template = workload["spec"]["template"]
            port = int(template["metadata"]["annotations"]["prometheus.io/port"])
            self.assertIn(port, [p["containerPort"] for p in template["spec"]["containers"][0]["ports"]])

    def test_pod_monitors_add_the_labels_that_rules_and_dashboard_use(self):
        for monitor in render_file(EVERYTHING).kind("PodMonitor"):
            for endpoint in monitor["spec"]["podMetricsEndpoints"]:
                self.assertEqual([r["targetLabel"] for r in endpoint["relabelings"]], ["model", "component"])
                self.assertEqual(endpoint["interval"], "5s")

    def test_pod_monitors_can_be_the_only_way(self):
        objects = render({**with_model(), "metrics": {"annotations": False, "podMonitor": {"enabled": True}}})
        for workload in objects.kind("Deployment"):
            annotations = workload["spec"]["template"]["metadata"].get("annotations", {})
            self.assertNotIn("prometheus.io/scrape", annotations)


if __name__ == "__main__":
    unittest.main()
