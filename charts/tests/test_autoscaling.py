"""What scales a model, and that an upgrade never resets it."""

import unittest

from chart import CHART, EMULATOR_VALUES, model, render, render_file, with_model

EVERYTHING = CHART / "ci" / "everything-values.yaml"


class Autoscaling(unittest.TestCase):
    def test_an_autoscaled_deployment_has_no_replicas_so_that_an_upgrade_keeps_what_runs(self):
        objects = render_file(EVERYTHING)
        for name in ("hpa", "eas", "through"):
            self.assertNotIn("replicas", objects.engine(name)["spec"])

    def test_a_fixed_deployment_has_its_replicas_and_zero_is_a_number(self):
        self.assertEqual(render_file(EVERYTHING).engine("fixed")["spec"]["replicas"], 3)
        self.assertEqual(render(with_model(replicaCount=0)).engine("m")["spec"]["replicas"], 0)

    def test_the_hpa_looks_at_waiting_and_running_as_averages_of_the_one_model(self):
        metrics = render_file(EVERYTHING).get("HorizontalPodAutoscaler", "demo-hpa")["spec"]["metrics"]
        seen = [(m["external"]["metric"]["name"], m["external"]["target"]) for m in metrics[:2]]
        self.assertEqual(seen, [
            ("vllm_num_requests_waiting", {"type": "AverageValue", "averageValue": "3"}),
            ("vllm_num_requests_running", {"type": "AverageValue", "averageValue": "12"})])
        for metric in metrics:
            self.assertEqual(metric["external"]["metric"]["selector"], {"matchLabels": {"model": "hpa"}})

    def test_targets_follow_the_number_of_sequences(self):
        for config, waiting, running in (({"maxNumSeqs": 16}, "4", "12"), ({"extraArgs": ["--max-num-seqs=100"]}, "25", "75"),
                                         ({"maxNumSeqs": 1}, "1", "1"), ({}, "16", "48")):
            values = with_model(vllmConfig=config, autoscaling={"kind": "HPA", "maxReplicas": 2})
            hpa = render(values).get("HorizontalPodAutoscaler", "demo-m")
            targets = [m["external"]["target"]["averageValue"] for m in hpa["spec"]["metrics"]]
            self.assertEqual(targets, [waiting, running])

    def test_the_hpa_scales_the_models_own_deployment(self):
        for objects in (render_file(EVERYTHING), render_file(EMULATOR_VALUES)):
            for scaler in objects.kind("HorizontalPodAutoscaler", "EngineAutoscaler"):
                target = objects.get("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
                self.assertEqual(target["metadata"]["labels"]["model"], scaler["metadata"]["labels"]["model"])

    def test_through_hpa_has_tolerance_zero_and_no_stabilisation(self):
        hpa = render_file(EVERYTHING).get("HorizontalPodAutoscaler", "demo-through")["spec"]
        for direction in ("scaleUp", "scaleDown"):
            self.assertEqual(hpa["behavior"][direction]["tolerance"], "0")
            self.assertEqual(hpa["behavior"][direction]["stabilizationWindowSeconds"], 0)
        self.assertEqual(hpa["metrics"][0]["external"]["metric"]["name"], "engine_desired_replicas")
        self.assertEqual(hpa["metrics"][0]["external"]["target"], {"type": "AverageValue", "averageValue": "1"})

    def test_mode_scale_has_no_hpa_beside_it(self):
        names = [h["metadata"]["name"] for h in render_file(EVERYTHING).kind("HorizontalPodAutoscaler")]
        self.assertEqual(sorted(names), ["demo-hpa", "demo-through"])

    def test_an_engine_autoscaler_names_target_served_model_and_limits(self):
        spec = render_file(EVERYTHING).get("EngineAutoscaler", "demo-through")["spec"]
        self.assertEqual(spec["servedModelName"], "through-name")
        self.assertEqual((spec["minReplicas"], spec["maxReplicas"], spec["mode"], spec["tier"]), (1, 40, "ThroughHPA", "Decode"))

    def test_the_rates_of_an_engine_autoscaler_reach_it(self):
        spec = render_file(EVERYTHING).get("EngineAutoscaler", "demo-through")["spec"]
        self.assertEqual((spec["scaleUp"], spec["scaleDown"]), ({"maxReplicasPerMinute": 4}, {"maxReplicasPerMinute": 1}))

    def test_the_strictest_objective_of_a_served_name_reaches_router_and_autoscaler(self):
        objects = render_file(EVERYTHING)
        objective = objects.get("EngineAutoscaler", "demo-eas")["spec"]["objective"]
        self.assertEqual(objective, {"ttft": "1.2s", "interTokenLatency": "100ms", "attainment": "99.5%"})
        self.assertEqual(objects.config("router")["models"]["shared"], {"objective": {"ttft": "1.2s", "interTokenLatency": "100ms"}})

    def test_durations_of_different_units_are_compared_by_length(self):
        for shorter, longer in (("0.01m", "700ms"), ("90s", "1m31s"), ("59m59s", "1h"), ("1s", "2s")):
            for pair in ((shorter, longer), (longer, shorter)):
                models = [model(name=f"m{i}", servedModelName="x", objective={"ttft": ttft}) for i, ttft in enumerate(pair)]
                config = render({"servingEngineSpec": {"modelSpec": models}}).config("router")
                self.assertEqual(config["models"]["x"]["objective"]["ttft"], shorter)

    def test_a_served_name_without_objective_is_still_known_to_the_router(self):
        self.assertEqual(render(with_model()).config("router")["models"], {"org/m": {}})


if __name__ == "__main__":
    unittest.main()
