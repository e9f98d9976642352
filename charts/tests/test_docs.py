"""What docs/install.md tells people to write is accepted by the real tools."""

import pathlib
import re
import subprocess
import tempfile
import unittest

import yaml

from chart import REPOSITORY, render, template

BLOCKS = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs" / "install.md").read_text(), re.DOTALL)
RULES = {"recording.yaml", "alerts.yaml"}


def block(key):
    found = [text for text in BLOCKS if key in yaml.safe_load(text)]
    if len(found) != 1:
        raise AssertionError(f"{len(found)} examples with {key}")
    return found[0]


class Examples(unittest.TestCase):
    def test_the_values_of_the_first_example_install_one_scaled_model(self):
        objects = render(yaml.safe_load(block("servingEngineSpec")))
        self.assertEqual([s["metadata"]["name"] for s in objects.kind("EngineAutoscaler")], ["demo-llama-8b"])

    def test_the_example_for_a_certificate_of_ones_own_leaves_the_secret_to_others(self):
        objects = render(yaml.safe_load(block("adapter")))
        self.assertEqual(objects.kind("Secret"), [])
        annotations = objects.kind("APIService")[0]["metadata"]["annotations"]
        self.assertIn("cert-manager.io/inject-ca-from", annotations)

    def test_prometheus_accepts_the_scrape_configuration(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in sorted(RULES):
                (pathlib.Path(folder) / name).write_text((REPOSITORY / "dashboards" / "rules" / name).read_text())
            path = pathlib.Path(folder) / "prometheus.yaml"
            # Debian's Prometheus is built without Kubernetes discovery; all else is checked.
            text = block("scrape_configs").replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: [{targets: ['a:1']}]")
            self.assertIn("static_configs", text)
            path.write_text(text)
            result = subprocess.run(["promtool", "check", "config", path], capture_output=True, text=True, check=False)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_the_metrics_of_the_table_are_those_that_people_may_read(self):
        text = (REPOSITORY / "docs" / "install.md").read_text()
        rows = text.split("| metric | target |", 1)[1].split("\n\n", 1)[0]
        documented = set(re.findall(r"`([a-z][a-z0-9_]+)`", rows))
        role = next(r for r in render().kind("ClusterRole") if r["metadata"]["name"].endswith("metrics-reader"))
        self.assertEqual(documented, set(role["rules"][0]["resources"]))


class Commands(unittest.TestCase):
    def test_the_values_file_without_gpus_is_where_the_page_says(self):
        self.assertTrue((REPOSITORY / "charts" / "vllm-prod-stack" / "values-emulator.yaml").is_file())
        self.assertEqual(template(files=(REPOSITORY / "charts" / "vllm-prod-stack" / "values-emulator.yaml",)).returncode, 0)


if __name__ == "__main__":
    unittest.main()
