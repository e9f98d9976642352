#!/usr/bin/env python3
"""Prints every query of the dashboards as JSON: [{"dashboard", "panel", "expr"}, …], variables filled in.

    queries.py [--namespace REGEX] [--model REGEX] [--served REGEX]     default: .* for each
    queries.py --rules      as a file of recording rules, which promtool can parse
"""

import argparse
import json
import pathlib


def panels_of(dashboard):
    """All panels, those inside collapsed rows included."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(folder, values):
    for path in sorted(folder.glob("*.json")):
        row = ""
        for panel in panels_of(json.loads(path.read_text())):
            if panel["type"] == "row":
                row = panel["title"]
            for target in panel.get("targets", []):
                expr = target["expr"]
                for name, value in values.items():
                    expr = expr.replace(f"${name}", value)
                yield {"dashboard": path.stem, "panel": f"{row}: {panel['title']}", "expr": expr}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("namespace", "model", "served"):
        parser.add_argument(f"--{name}", default=".*", metavar="REGEX")
    parser.add_argument("--rules", action="store_true")
    values = vars(parser.parse_args())
    as_rules = values.pop("rules")
    found = list(queries(pathlib.Path(__file__).parent, values))
    if as_rules:
        rules = [{"record": f"query_{number}", "expr": query["expr"]} for number, query in enumerate(found)]
        found = {"groups": [{"name": "dashboards", "rules": rules}]}
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
