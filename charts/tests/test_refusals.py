"""Bad values: the error names the place and the fix."""

import json
import unittest

from chart import CHART, model, notes, refusal, with_model

SCALED = {"kind": "EngineAutoscaler", "maxReplicas": 4}

# what is wrong, the values, and what the error must say
BAD_VALUES = [
    ("a misspelt key at the top", {"adaptr": {}}, ["additional properties 'adaptr' not allowed"]),
    ("a misspelt key of a model", with_model(replicas=2), ["/servingEngineSpec/modelSpec/0", "'replicas' not allowed"]),
    ("a misspelt flag", with_model(vllmConfig={"maxModelLength": 9}), ["/modelSpec/0/vllmConfig", "'maxModelLength' not allowed"]),
    ("a missing image", {"servingEngineSpec": {"modelSpec": [{"name": "m", "modelURL": "x"}]}}, ["/modelSpec/0", "missing property 'repository'"]),
    ("a name that is no label", with_model(name="Llama/8B"), ["/modelSpec/0/name", "does not match pattern"]),
    ("an unknown kind of autoscaling", with_model(autoscaling={"kind": "KEDA", "maxReplicas": 2}), ["/autoscaling/kind", "'HPA', 'EngineAutoscaler', 'none'"]),
    ("autoscaling without a maximum", with_model(autoscaling={"kind": "HPA"}), ["/modelSpec/0/autoscaling", "missing property 'maxReplicas'"]),
    ("a duration without unit", with_model(objective={"ttft": "5"}), ["/objective/ttft", "does not match pattern"]),
    ("a number of replicas in words", {"routerSpec": {"replicaCount": "two"}}, ["/routerSpec/replicaCount", "want integer"]),
    ("the same name twice", {"servingEngineSpec": {"modelSpec": [model(), model()]}}, ["servingEngineSpec.modelSpec[1].name", "used twice", "give every entry a name"]),
    ("replicas fixed and scaled", with_model(replicaCount=3, autoscaling=SCALED), ["servingEngineSpec.modelSpec[0].replicaCount", "write it as servingEngineSpec.modelSpec[0].autoscaling.minReplicas"]),
    ("a maximum below the minimum", with_model(autoscaling={**SCALED, "minReplicas": 9}), ["modelSpec[0].autoscaling.maxReplicas", "below minReplicas 9", "raise"]),
    ("an HPA down to zero", with_model(autoscaling={"kind": "HPA", "minReplicas": 0, "maxReplicas": 2}), ["autoscaling.minReplicas", "use at least 1"]),
    ("an EngineAutoscaler without autoscaler", {**with_model(autoscaling=SCALED), "autoscaler": {"enabled": False}}, ["autoscaling.kind", "autoscaler.enabled: true"]),
    ("a rate of nothing", with_model(autoscaling={**SCALED, "engineAutoscaler": {"scaleUp": {"maxReplicasPerMinute": 0}}}), ["/engineAutoscaler/scaleUp/maxReplicasPerMinute", "minimum"]),
    ("a label that is the chart's", with_model(podLabels={"model": "x"}), ["modelSpec[0].podLabels", "use another key"]),
    ("a label of the contract for all engines", {"servingEngineSpec": {"labels": {"app.kubernetes.io/instance": "x"}}}, ["servingEngineSpec.labels", "use another key"]),
    ("too short a grace period", {"servingEngineSpec": {"drain": {"preStopSeconds": 30, "gracePeriodSeconds": 45}}}, ["drain.gracePeriodSeconds", "at least preStopSeconds + 30 = 60"]),
    ("a static router without engines", {"routerSpec": {"serviceDiscovery": "static"}}, ["routerSpec.staticBackends", "http://"]),
    ("a second mount at /data", with_model(pvcStorage="1Gi", extraVolumeMounts=[{"name": "v", "mountPath": "/data"}]), ["modelSpec[0].extraVolumeMounts", "elsewhere"]),
    ("KEDA", with_model(keda={"enabled": True}), ["modelSpec[0].keda.enabled", "autoscaling: {kind: HPA"]),
    ("Ray", with_model(raySpec={"enabled": True}), ["modelSpec[0].raySpec.enabled"]),
    ("a cache server and adapters, all of them at once", {"cacheserverSpec": {"enabled": True}, "loraAdapters": [{"name": "sql"}], "prometheus-adapter": {"enabled": True}}, ["cacheserverSpec.enabled", "loraAdapters (sql", "prometheus-adapter.enabled"]),
    ("a rule with two sources", {"adapter": {"rules": [{"name": "x", "promql": "up", "measure": {"metrics": ["a"], "component": "router", "aggregate": "sum"}}]}}, ["/adapter/rules/0", "oneOf"]),
    ("a rule in PromQL without Prometheus", {"adapter": {"rules": [{"name": "x", "promql": "up"}]}}, ["adapter.rules[0].promql", "set it, or write the rule as measure"]),
    ("a backup that does not exist", {"adapter": {"sources": {"backup": True}}}, ["adapter.sources", "prometheus.url is empty"]),
    ("a Prometheus without scheme", {"prometheus": {"url": "prometheus:9090"}}, ["/prometheus/url", "does not match pattern"]),
]


# keys of production-stack that are refused when they are switched on, with what switches them on
REFUSED = {
    "routerSpec": {"ingress": {"enabled": True}, "autoscaling": {"enabled": True}, "route": {"main": {"enabled": True}},
                   "serviceMonitor": {"enabled": True}},
    "servingEngineSpec": {"vllmApiKey": "key", "serviceMonitor": {"enabled": True}},
    "modelSpec": {"keda": {"enabled": True}, "raySpec": {"enabled": True}, "lmcacheConfig": {"enabled": True}, "enableLoRA": True,
                  "chatTemplate": "x", "chatTemplateConfigMap": "x", "requestGPUMem": "1", "requestGPUMemPercentage": 1,
                  "requestGPUCores": 1, "limitGPUMem": 1, "limitGPUMemPercentage": 1, "limitGPUCores": 1},
    "": {"cacheserverSpec": {"enabled": True}, "loraAdapters": [{"name": "x"}], "loraController": {"enableLoraController": True},
         "sharedPvcStorage": {"enabled": True}, "kube-prometheus-stack": {"enabled": True}, "prometheus-adapter": {"enabled": True}},
}


def described(word):
    """Keys whose description in the schema begins with a word, by the object they stand in."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    places = {"": schema, "routerSpec": schema["properties"]["routerSpec"],
              "servingEngineSpec": schema["properties"]["servingEngineSpec"], "modelSpec": schema["$defs"]["model"],
              "vllmConfig": schema["$defs"]["model"]["properties"]["vllmConfig"]}
    return {place: {key for key, node in where["properties"].items() if node.get("description", "").startswith(word)}
            for place, where in places.items()}


class NotImplemented(unittest.TestCase):
    def test_every_key_that_the_schema_calls_refused_is_refused_by_name(self):
        for place, keys in described("Not implemented").items():
            if not keys:
                continue
            values = REFUSED[place]
            self.assertEqual(set(values), keys, place)
            whole = {"": values, "modelSpec": with_model(**values)}.get(place, {place: values})
            message = refusal(whole)
            for key in keys:
                self.assertIn(key, message)

    def test_every_key_that_the_schema_calls_ineffective_is_named_in_the_notes(self):
        keys = described("Accepted for")
        values = {"servingEngineSpec": {"modelSpec": [model(vllmConfig=dict.fromkeys(keys["vllmConfig"], "1"))],
                                        **dict.fromkeys(keys["servingEngineSpec"], {"x": "y"})},
                  "routerSpec": dict.fromkeys(keys["routerSpec"], "x")}
        text = notes(values)
        for key in set().union(*keys.values()):
            self.assertRegex(text, rf"\.{key}\b")


class Refusals(unittest.TestCase):
    def test_bad_values_are_refused_with_place_and_fix(self):
        for what, values, expected in BAD_VALUES:
            with self.subTest(what):
                message = refusal(values)
                for part in expected:
                    self.assertIn(part, message)


if __name__ == "__main__":
    unittest.main()
