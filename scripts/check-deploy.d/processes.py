"""Asks miaofs-server whether it understands each process as server/deploy starts it: processes.py PROGRAM DEPLOY

The flags, variables and configuration files are those that stand there; `serve --check` opens and starts nothing.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import yaml

program, deploy = sys.argv[1], pathlib.Path(sys.argv[2])
checked = 0


def check(name, command, environment, configuration):
    """Ends with the program's complaint when it does not understand a process."""
    global checked
    if command[0] != "serve":
        return
    variables = {key: value for key, value in os.environ.items() if not key.startswith("MIAOFS_")}
    variables.update(environment, MIAOFS_SERVER_CONFIG=str(configuration))
    ended = subprocess.run([program, *command, "--check"], env=variables, capture_output=True, text=True)
    if ended.returncode != 0:
        sys.exit(f"{name}: {ended.stderr}{ended.stdout}")
    checked += 1


def compose():
    for name, service in yaml.safe_load((deploy / "compose/compose.yaml").read_text())["services"].items():
        if service["image"] == "miaofs-server":
            command = service.get("command", ["serve"])
            check(f"compose: {name}", command, service["environment"], deploy / "compose/server.toml")


def systemd():
    for file in sorted((deploy / "systemd").glob("*.env")):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        variables = dict(line.split("=", 1) for line in lines)
        check(f"systemd: {file.name}", ["serve"], variables, deploy / "server.toml")


def kubernetes():
    documents = []
    for file in sorted((deploy / "kubernetes").glob("*.yaml")):
        documents += yaml.safe_load_all(file.read_text())
    named = {(it["kind"], it["metadata"]["name"]): it for it in documents}
    shared = named["ConfigMap", "miaofs-server"]["data"]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as configuration:
        configuration.write(named["Secret", "miaofs-server"]["stringData"]["server.toml"])
        configuration.flush()
        for (kind, name), document in named.items():
            template = document.get("spec", {}).get("template", {})
            for container in template.get("spec", {}).get("containers", []):
                if container["image"].startswith("miaofs-server"):
                    variables = dict(shared)
                    for variable in container.get("env", []):
                        # What a pod is told of itself: here, the name of one.
                        variables[variable["name"]] = variable.get("value", "upload-0").replace(
                            "$(MIAOFS_SERVER_HOST)", "upload-0"
                        )
                    check(f"kubernetes: {kind} {name}", container["args"], variables, configuration.name)


compose()
systemd()
kubernetes()
if checked < 10:
    sys.exit(f"only {checked} processes were found below {deploy}")
print(f"miaofs-server understands all {checked} processes")
