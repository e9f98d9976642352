"""Engines: names, labels, drain, command line, storage."""

import unittest

from chart import CHART, container, flag, model, pod, render, render_file, with_model

EVERYTHING = CHART / "ci" / "everything-values.yaml"
PRODUCTION_STACK = CHART / "ci" / "production-stack-values.yaml"


class Engines(unittest.TestCase):
    def test_pods_carry_the_labels_by_which_router_and_autoscaler_find_them(self):
        for engine in render_file(EVERYTHING).engines():
            labels = pod(engine)["metadata"]["labels"]
            self.assertEqual(labels["app.kubernetes.io/component"], "serving-engine")
            self.assertEqual(labels["app.kubernetes.io/instance"], "demo")
            self.assertIn(labels["model"], {"hpa", "eas", "through", "fixed", "claimed"})
            self.assertEqual(labels["team"], "search")

    def test_the_selector_names_release_component_and_model_so_that_two_releases_never_mix(self):
        for engine in render_file(EVERYTHING).engines():
            selector = engine["spec"]["selector"]["matchLabels"]
            self.assertEqual(set(selector), {"app.kubernetes.io/instance", "app.kubernetes.io/component", "model"})
            self.assertLessEqual(selector.items(), pod(engine)["metadata"]["labels"].items())

    def test_pod_labels_do_not_change_with_the_chart_version(self):
        for workload in render_file(EVERYTHING).kind("Deployment"):
            self.assertNotIn("helm.sh/chart", pod(workload)["metadata"]["labels"])
            self.assertNotIn("app.kubernetes.io/version", pod(workload)["metadata"]["labels"])

    def test_the_container_port_is_named_http(self):
        for engine in render_file(EVERYTHING).engines():
            self.assertEqual(container(engine)["ports"][0], {"name": "http", "containerPort": 8000, "protocol": "TCP"})

    def test_an_engine_leaves_routing_before_it_stops_and_stops_before_it_is_killed(self):
        engine = render(with_model()).engine("m")
        self.assertEqual(container(engine)["lifecycle"]["preStop"], {"sleep": {"seconds": 10}})
        self.assertEqual(pod(engine)["spec"]["terminationGracePeriodSeconds"], 330)
        self.assertEqual(flag(engine, "--shutdown-timeout"), "315")

    def test_the_shutdown_timeout_follows_the_grace_period_unless_the_user_gives_one(self):
        objects = render_file(EVERYTHING)
        self.assertEqual(flag(objects.engine("hpa"), "--shutdown-timeout"), "105")
        self.assertEqual(flag(objects.engine("fixed"), "--shutdown-timeout"), "585")
        self.assertEqual(flag(objects.engine("through"), "--shutdown-timeout"), "99")
        self.assertEqual(container(objects.engine("through"))["args"].count("--shutdown-timeout"), 1)

    def test_every_engine_has_three_probes_that_wait_an_hour_for_the_model(self):
        engine = container(render(with_model()).engine("m"))
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(engine[probe]["httpGet"], {"path": "/health", "port": "http"})
        startup = engine["startupProbe"]
        self.assertGreaterEqual(startup["periodSeconds"] * startup["failureThreshold"], 3600)
        self.assertLessEqual(startup["periodSeconds"], 2)

    def test_a_probe_of_another_kind_replaces_the_http_one(self):
        probe = container(render_file(EVERYTHING).engine("fixed"))["startupProbe"]
        self.assertEqual(probe["tcpSocket"], {"port": "http"})
        self.assertNotIn("httpGet", probe)

    def test_large_numbers_reach_the_command_line_as_digits(self):
        self.assertEqual(flag(render_file(PRODUCTION_STACK).engine("llama3"), "--max-model-len"), "131072")

    def test_flags_stand_in_production_stacks_order_and_numbers_are_accepted(self):
        engine = container(render_file(PRODUCTION_STACK).engine("llama3"))
        self.assertEqual(engine["command"], ["/opt/venv/bin/vllm", "serve"])
        self.assertEqual(engine["args"], [
            "meta-llama/Llama-3.1-8B-Instruct", "--host", "0.0.0.0", "--port", "8000",
            "--no-enable-chunked-prefill", "--no-enable-prefix-caching", "--max-model-len", "131072", "--dtype", "bfloat16",
            "--tensor-parallel-size", "2", "--max-num-seqs", "32", "--gpu-memory-utilization", "0.85",
            "--disable-log-requests", "--trust-remote-code", "7", "--shutdown-timeout", "315"])

    def test_gpus_are_requested_and_limited_by_their_own_resource_name(self):
        resources = container(render_file(PRODUCTION_STACK).engine("llama3"))["resources"]
        self.assertEqual(resources["requests"], {"cpu": "500m", "memory": "16Gi", "nvidia.com/mig-3g.20gb": "2"})
        self.assertEqual(resources["limits"], {"nvidia.com/mig-3g.20gb": "2"})

    def test_fractions_of_a_processor_are_kept(self):
        resources = container(render(with_model(requestCPU=1.5)).engine("m"))["resources"]
        self.assertEqual(resources["requests"]["cpu"], "1.5")

    def test_a_disabled_model_leaves_nothing_behind(self):
        text = str(render_file(PRODUCTION_STACK))
        self.assertNotIn("mistral", text)

    def test_a_token_comes_from_an_existing_secret(self):
        objects = render_file(PRODUCTION_STACK)
        token = next(e for e in container(objects.engine("llama3"))["env"] if e["name"] == "HF_TOKEN")
        reference = token["valueFrom"]["secretKeyRef"]
        self.assertEqual(reference, {"name": "huggingface-credentials", "key": "HUGGING_FACE_HUB_TOKEN"})
        self.assertEqual([s for s in objects.kind("Secret") if s["metadata"]["name"] == "demo-secrets"], [])

    def test_pull_secrets_of_the_release_and_of_the_model_are_both_used(self):
        spec = pod(render_file(EVERYTHING).engine("hpa"))["spec"]
        self.assertEqual(spec["imagePullSecrets"], [{"name": "registry"}, {"name": "more"}])

    def test_node_selector_terms_join_the_models_affinity(self):
        affinity = pod(render_file(EVERYTHING).engine("fixed"))["spec"]["affinity"]
        self.assertEqual(set(affinity), {"nodeAffinity", "podAntiAffinity"})

    def test_tolerations_are_added_or_replaced(self):
        objects = render_file(EVERYTHING)
        self.assertEqual([t["key"] for t in pod(objects.engine("fixed"))["spec"]["tolerations"]], ["own"])
        self.assertEqual([t["key"] for t in pod(objects.engine("hpa"))["spec"]["tolerations"]], ["gpu"])

    def test_storage_is_a_claim_a_scratch_folder_or_an_existing_claim(self):
        objects = render_file(EVERYTHING)
        volumes = {v["name"]: v for v in pod(objects.engine("fixed"))["spec"]["volumes"]}
        self.assertEqual(volumes["storage"]["emptyDir"], {})
        self.assertEqual(volumes["shm"]["emptyDir"], {"medium": "Memory", "sizeLimit": "20Gi"})
        claim = pod(objects.engine("claimed"))["spec"]["volumes"][0]["persistentVolumeClaim"]
        self.assertEqual(claim, {"claimName": "models"})
        made = render_file(PRODUCTION_STACK).get("PersistentVolumeClaim", "demo-llama3-storage-claim")
        self.assertEqual(made["spec"]["accessModes"], ["ReadWriteMany"])

    def test_engines_have_a_disruption_budget_unless_it_is_switched_off(self):
        objects = render_file(EVERYTHING)
        names = {b["metadata"]["name"] for b in objects.kind("PodDisruptionBudget")}
        self.assertIn("demo-hpa-pdb-vllm", names)
        self.assertNotIn("demo-claimed-pdb-vllm", names)

    def test_no_engine_gets_an_api_token_unless_it_has_a_service_account(self):
        objects = render_file(EVERYTHING)
        self.assertFalse(pod(objects.engine("hpa"))["spec"]["automountServiceAccountToken"])
        self.assertTrue(pod(objects.engine("fixed"))["spec"]["automountServiceAccountToken"])

    def test_a_rollout_takes_no_engine_away_before_its_successor_serves(self):
        rolling = render(with_model()).engine("m")["spec"]["strategy"]["rollingUpdate"]
        self.assertEqual(rolling, {"maxSurge": 1, "maxUnavailable": 0})

    def test_recreate_takes_no_part_of_the_default_rollout_with_it(self):
        objects = render({"servingEngineSpec": {"strategy": {"type": "Recreate"}, "modelSpec": [model()]}})
        self.assertEqual(objects.engine("m")["spec"]["strategy"], {"type": "Recreate"})

    def test_the_services_select_exactly_one_models_pods(self):
        values = {"servingEngineSpec": {"modelSpec": [model(), model(name="other")]}}
        for service in render(values).kind("Service"):
            if service["metadata"]["name"].endswith("engine-service"):
                self.assertEqual(service["spec"]["selector"]["model"], service["metadata"]["labels"]["model"])


if __name__ == "__main__":
    unittest.main()
