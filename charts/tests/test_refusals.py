"""Bad values: the error names the place and the fix."""

import unittest

from chart import model, refusal, with_model

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


class Refusals(unittest.TestCase):
    def test_bad_values_are_refused_with_place_and_fix(self):
        for what, values, expected in BAD_VALUES:
            with self.subTest(what):
                message = refusal(values)
                for part in expected:
                    self.assertIn(part, message)


if __name__ == "__main__":
    unittest.main()
