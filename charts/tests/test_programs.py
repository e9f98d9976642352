"""Router, adapter and autoscaler: configuration, rights, security, availability."""

import json
import unittest

import jsonschema

from chart import (CHART, EMULATOR_VALUES, PROGRAMS, REPOSITORY, component, container, pod, render, render_file,
                   values_files, with_model)

EVERYTHING = CHART / "ci" / "everything-values.yaml"
STATIC = CHART / "ci" / "static-values.yaml"


class Programs(unittest.TestCase):
    def test_rendered_configuration_fits_each_programs_schema(self):
        for program in PROGRAMS:
            schema = json.loads((REPOSITORY / program / "config.schema.json").read_text())
            for file in values_files():
                objects = render_file(file)
                if any(component(p) == program for p in objects.programs()):
                    with self.subTest(program=program, file=file.name):
                        jsonschema.validate(objects.config(program), schema)

    def test_two_replicas_that_a_rollout_never_takes_below(self):
        for program in render(with_model()).programs():
            self.assertEqual(program["spec"]["replicas"], 2)
            self.assertEqual(program["spec"]["strategy"]["rollingUpdate"], {"maxSurge": 1, "maxUnavailable": 0})

    def test_each_program_has_a_disruption_budget_for_its_own_pods(self):
        objects = render(with_model())
        for program in objects.programs():
            budget = objects.get("PodDisruptionBudget", program["metadata"]["name"])
            self.assertEqual(budget["spec"]["selector"], program["spec"]["selector"])
            self.assertEqual(budget["spec"]["maxUnavailable"], 1)

    def test_streams_have_time_to_finish_in_the_router(self):
        router = next(p for p in render(with_model()).programs() if component(p) == "router")
        self.assertGreaterEqual(pod(router)["spec"]["terminationGracePeriodSeconds"], 310)

    def test_the_decision_log_is_written_where_a_volume_is(self):
        def autoscaler(values):
            objects = render(values)
            return objects, next(p for p in objects.programs() if component(p) == "autoscaler")
        objects, workload = autoscaler({**with_model(), "autoscaler": {"decisionLog": {"enabled": True}}})
        folder = objects.config("autoscaler")["decisionLog"]["folder"]
        mounts = {mount["mountPath"]: mount["name"] for mount in container(workload)["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod(workload)["spec"]["volumes"]}
        self.assertEqual(volumes[mounts[folder]]["emptyDir"], {"sizeLimit": "1Gi"})
        objects, workload = autoscaler(with_model())
        self.assertNotIn("decisionLog", objects.config("autoscaler"))
        self.assertNotIn("decisions", [volume["name"] for volume in pod(workload)["spec"]["volumes"]])

    def test_probes_ask_the_admin_port(self):
        for program in render(with_model()).programs():
            for probe in ("startupProbe", "livenessProbe"):
                self.assertEqual(container(program)[probe]["httpGet"], {"path": "/livez", "port": "admin"})
            self.assertEqual(container(program)["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "admin"})

    def test_no_pod_of_a_program_is_tied_to_another_but_they_prefer_to_be_apart(self):
        for program in render(with_model()).programs():
            for spread in pod(program)["spec"]["topologySpreadConstraints"]:
                self.assertEqual(spread["whenUnsatisfiable"], "ScheduleAnyway")

    def test_a_changed_model_does_not_restart_the_router(self):
        def checksum(values):
            router = next(p for p in render(values).programs() if component(p) == "router")
            return pod(router)["metadata"]["annotations"]
        self.assertEqual(checksum(with_model()), checksum(with_model(objective={"ttft": "9s"})))
        self.assertNotEqual(checksum(with_model()), checksum({**with_model(), "process": {"logLevel": "debug"}}))

    def test_production_stacks_router_image_is_not_started_with_our_arguments(self):
        router = next(p for p in render_file(CHART / "ci" / "production-stack-values.yaml").programs() if component(p) == "router")
        self.assertNotIn("lmstack-router", container(router)["image"])

    def test_fixed_engines_reach_the_router(self):
        config = render_file(STATIC).config("router")
        self.assertEqual(config["engines"], {"static": ["http://10.0.0.7:8000", "http://10.0.0.8:8000"]})

    def test_without_adapter_and_autoscaler_nothing_cluster_wide_is_left(self):
        kinds = {thing["kind"] for thing in render_file(STATIC)}
        self.assertFalse(kinds & {"ClusterRole", "ClusterRoleBinding", "APIService", "Job", "Lease"})


class Rights(unittest.TestCase):
    def test_no_role_has_a_wildcard(self):
        for file in values_files():
            for role in render_file(file).kind("Role", "ClusterRole"):
                for rule in role.get("rules", []):
                    for key in ("apiGroups", "resources", "verbs", "resourceNames"):
                        self.assertNotIn("*", rule.get(key, []), role["metadata"]["name"])

    def test_no_role_reads_secrets_it_does_not_own(self):
        for file in values_files():
            for role in render_file(file).kind("Role", "ClusterRole"):
                for rule in role.get("rules", []):
                    if "secrets" in rule["resources"]:
                        self.assertEqual(rule["resourceNames"], ["demo-adapter-serving-cert"])
                        self.assertEqual(role["kind"], "Role")

    def test_only_the_adapter_has_rights_in_all_namespaces_and_the_hook_on_one_crd(self):
        for role in render_file(EMULATOR_VALUES).kind("ClusterRole"):
            for rule in role["rules"]:
                resources = set(rule["resources"])
                if role["metadata"]["name"].endswith("autoscaler-crd"):
                    self.assertEqual(resources, {"customresourcedefinitions"})
                elif role["metadata"]["name"].endswith("metrics-reader"):
                    self.assertEqual(rule["apiGroups"], ["external.metrics.k8s.io"])
                else:
                    self.assertLessEqual(resources, {"pods", "apiservices"})

    def test_the_roles_hold_what_the_programs_call_and_no_more(self):
        watch, lease = ["list", "watch"], ("coordination.k8s.io", "leases")
        expected = {
            "demo-deployment-router": {("", "pods"): watch},
            "demo-adapter": {("", "secrets"): ["get", "update"]},
            "models-demo-adapter": {("", "pods"): watch, ("apiregistration.k8s.io", "apiservices"): ["get", "patch"]},
            "demo-autoscaler": {
                ("autoscaling.vllm-prod-stack.io", "engineautoscalers"): watch,
                ("autoscaling.vllm-prod-stack.io", "engineautoscalers/status"): ["patch"],
                ("", "pods"): watch,
                ("apps", "deployments/scale"): ["get", "patch"],
                ("apps", "statefulsets/scale"): ["get", "patch"],
                ("autoscaling", "horizontalpodautoscalers"): ["list"],
                ("keda.sh", "scaledobjects"): ["list"],
                ("events.k8s.io", "events"): ["create"],
                lease: ["create", "get", "update"],
            },
            "models-demo-autoscaler-crd": {("apiextensions.k8s.io", "customresourcedefinitions"): ["create", "get", "patch"]},
        }
        found = {}
        for role in render_file(EMULATOR_VALUES).kind("Role", "ClusterRole"):
            verbs = found.setdefault(role["metadata"]["name"], {})
            for rule in role["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        verbs[group, resource] = sorted({*verbs.get((group, resource), []), *rule["verbs"]})
        found.pop("models-demo-adapter-metrics-reader")
        self.assertEqual(found, expected)

    def test_cluster_wide_names_carry_release_and_namespace(self):
        for thing in render_file(EMULATOR_VALUES).kind("ClusterRole", "ClusterRoleBinding"):
            self.assertTrue(thing["metadata"]["name"].startswith("models-demo-"), thing["metadata"]["name"])

    def test_every_binding_has_its_role_and_its_account(self):
        outside = {"system:auth-delegator", "extension-apiserver-authentication-reader"}
        for file in values_files():
            objects = render_file(file)
            roles = {(r["kind"], r["metadata"]["name"]) for r in objects.kind("Role", "ClusterRole")}
            accounts = {a["metadata"]["name"] for a in objects.kind("ServiceAccount")} | {"mine"}
            for binding in objects.kind("RoleBinding", "ClusterRoleBinding"):
                reference = binding["roleRef"]
                self.assertTrue(reference["name"] in outside or (reference["kind"], reference["name"]) in roles)
                self.assertTrue(all(subject["name"] in accounts for subject in binding["subjects"]))


class PodSecurity(unittest.TestCase):
    """The Restricted standard, for our programs always and for the emulator's engines."""

    def assert_restricted(self, template, name):
        spec = template["spec"]
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertNotIn(key, spec, name)
        allowed = {"configMap", "emptyDir", "secret", "projected", "downwardAPI", "persistentVolumeClaim", "ephemeral", "csi"}
        for volume in spec.get("volumes", []):
            self.assertLessEqual(set(volume) - {"name"}, allowed, name)
        security = spec["securityContext"]
        self.assertTrue(security["runAsNonRoot"], name)
        self.assertNotEqual(security["runAsUser"], 0, name)
        self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"}, name)
        for one in spec["containers"] + spec.get("initContainers", []):
            own = one["securityContext"]
            self.assertIs(own["allowPrivilegeEscalation"], False, name)
            self.assertEqual(own["capabilities"], {"drop": ["ALL"]}, name)
            self.assertIs(own["readOnlyRootFilesystem"], True, name)
            self.assertTrue(all("hostPort" not in port for port in one.get("ports", [])), name)

    def test_our_programs_and_the_hook_are_restricted_under_every_values_file(self):
        for file in values_files():
            objects = render_file(file)
            for workload in objects.programs() + objects.kind("Job"):
                self.assert_restricted(pod(workload), f"{file.name}: {workload['metadata']['name']}")
            for test in objects.kind("Pod"):
                self.assert_restricted(test, f"{file.name}: {test['metadata']['name']}")

    def test_emulated_engines_are_restricted(self):
        for engine in render_file(EMULATOR_VALUES).engines():
            self.assert_restricted(pod(engine), engine["metadata"]["name"])

    def test_programs_run_as_65532(self):
        for program in render(with_model()).programs():
            self.assertEqual(pod(program)["spec"]["securityContext"]["runAsUser"], 65532)


if __name__ == "__main__":
    unittest.main()
