"""Checks that what server/deploy has for Prometheus and Grafana is of the shape that those read: watching.py DEPLOY

That each figure there is one that a server shows is for tests/server/watching.rs.
"""

import json
import pathlib
import sys

import yaml

deploy = pathlib.Path(sys.argv[1])


def expect(is_right, where, what):
    """Ends when something is missing."""
    if not is_right:
        sys.exit(f"{where}: {what}")


def rules(path):
    names = set()
    for group in yaml.safe_load(path.read_text())["groups"]:
        expect(group["name"] and group["rules"], path, "a group without name or rules")
        for rule in group["rules"]:
            name = rule["alert"]
            expect(name not in names, path, f"{name} is there twice")
            names.add(name)
            expect(set(rule) == {"alert", "expr", "for", "labels", "annotations"}, path, f"{name} has other fields")
            expect(rule["expr"].count("(") == rule["expr"].count(")"), path, f"{name}: parentheses")
            expect(rule["labels"].get("severity") in ("page", "ticket"), path, f"{name} is for nobody")
            expect(set(rule["annotations"]) == {"summary", "description"}, path, f"{name} says too little")
    expect(len(names) > 5, path, "there are few rules")
    return len(names)


def scraping(path):
    configuration = yaml.safe_load(path.read_text())
    for file in configuration["rule_files"]:
        expect((path.parent / file).is_file(), path, f"there is no {file}")
    jobs = [job["job_name"] for job in configuration["scrape_configs"]]
    expect(jobs == ["miaofs-server"], path, f"the rules are about the job miaofs-server, not {jobs}")


def dashboard(path):
    panels = json.loads(path.read_text())["panels"]
    numbers, taken = [panel["id"] for panel in panels], set()
    expect(len(set(numbers)) == len(numbers), path, "two panels have one id")
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        expect(place["x"] + place["w"] <= 24 and not cells & taken, path, f"{panel['title']} is in the way of another")
        taken |= cells
        expect(panel["type"] == "row" or panel["targets"], path, f"{panel['title']} shows nothing")
    return len(panels)


alerts = rules(deploy / "prometheus/rules.yaml")
scraping(deploy / "prometheus/prometheus.yml")
panels = dashboard(deploy / "grafana/miaofs-server.json")
print(f"{alerts} alerts and {panels} panels are well-formed")
