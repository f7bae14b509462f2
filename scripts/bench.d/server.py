#!/usr/bin/env python3
"""Measures a server under many clients: commits, uploads, downloads, and clients that wait for changes.

    scripts/bench --server [embedded|mariadb|real] [OPTION...]

`embedded` is one process with everything in it, `mariadb` the same with its tables in MariaDB (without a replica), and `real` one process
on MariaDB with a replica, Redis, RabbitMQ and Ceph, all started on this machine for the run (`scripts/services`). The load
comes from this machine, too (`scripts/bench.d/load`), so what it and the database take the server does not get: beside each rate
stands the processor time that the processes of server and database spent on one unit, which depends less on what else runs.

Several `--binaries` are compared in one run: each measures in each round, in another order, on a database of its own. The table shows
medians with the least and the most. As commits in MariaDB survive the end of its process but not of the machine here, they are
quicker than with `innodb_flush_log_at_trx_commit = 1`; those of SQLite are synced.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
SERVICES = REPOSITORY / "scripts/services"
CELL = 34  # characters of a figure with its spread
TICKS = os.sysconf("SC_CLK_TCK")


class Services:
    """The real dependencies of this run, as processes of its own."""

    def __init__(self, directory, parts):
        self.directory = directory
        self.parts = parts

    def __enter__(self):
        for part in self.parts or ["up"]:
            words = ["start", part] if self.parts else [part]
            subprocess.run([SERVICES, *words, self.directory], check=True, stdout=sys.stderr)
        lines = (self.directory / "services.env").read_text().splitlines()
        self.settings = dict(line.removeprefix("MIAOFS_TEST_").split("=", 1) for line in lines)
        return self

    def __exit__(self, *_):
        subprocess.run([SERVICES, "down", self.directory, "--wipe"], check=True, stdout=sys.stderr)

    def database_process(self):
        return int((self.directory / "mariadb/process").read_text().split()[0])

    def configuration(self, name):
        """Settings of a server that shares the dependencies with others, under a name of its own."""
        given = self.settings
        lines = [f'database_url = "{given["DATABASE_URL"]}/{name}"']
        if not self.parts:
            self.make_virtual_host(name)
            lines += [
                f'replica_url = "{given["REPLICA_URL"]}/{name}"',
                f'redis_url = "{given["REDIS_URL"]}"', f'redis_prefix = "{name}"',
                f'amqp_url = "{given["AMQP_URL"]}/{name}"',
                'store = ["ceph"]', "[stores.ceph]", f'prefix = "{name}"',
            ]
            names = ["endpoint", "region", "bucket", "access_key", "secret_key"]
            lines += [f'{setting} = "{given[f"CEPH_{setting.upper()}"]}"' for setting in names]
        return "\n".join(lines) + "\n"

    def make_virtual_host(self, name):
        self.ask_broker(f"vhosts/{name}", {})
        self.ask_broker(f"permissions/{name}/guest", {"configure": ".*", "write": ".*", "read": ".*"})

    def ask_broker(self, path, body):
        url = urllib.parse.urlsplit(self.settings["AMQP_API"])
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        address = f"http://{url.hostname}:{url.port}/api/{path}"
        passwords.add_password(None, address, url.username, url.password)
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers, method="PUT")
        no_proxy = urllib.request.ProxyHandler({})
        opener = urllib.request.build_opener(no_proxy, urllib.request.HTTPBasicAuthHandler(passwords))
        opener.open(request).close()


@contextlib.contextmanager
def server(binaries, scratch, name, services):
    """Yields the process and the URL of a new server."""
    command = [binaries / "miaofs-server", "serve", "--data", scratch / name, "--listen", "127.0.0.1:0"]
    if services:
        configuration = scratch / f"{name}.toml"
        configuration.write_text(services.configuration(name))
        command += ["--config", configuration]
    with open(scratch / f"{name}.log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        for line in process.stdout:
            if line.startswith("listening on "):
                yield process.pid, line.split()[-1]
                return
        sys.exit(f"the server does not listen:\n{pathlib.Path(log.name).read_text()}")
    finally:
        process.terminate()
        process.wait()


def processor_seconds(process):
    words = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def measure(arguments, binaries, scratch, name, services):
    """One round: figures by measure, clients and unit."""
    sizes = {size: getattr(arguments, size) for size in SIZES}
    figures = {}
    with server(binaries, scratch, name, services) as (process, url):
        watched = {"server": process}
        if services:
            watched["database"] = services.database_process()
        load = subprocess.Popen([arguments.load, url, json.dumps(sizes)], stdout=subprocess.PIPE, text=True)
        before = {}
        for line in map(json.loads, load.stdout):
            spent = {what: processor_seconds(at) for what, at in watched.items()}
            if "begins" in line:
                before = spent
                continue
            about = (line["measure"], line["clients"])
            figures[(*about, line["unit"])] = line["figure"]
            if "amount" in line:
                for what, seconds in spent.items():
                    unit = f"µs of {what} a {line['unit'].removesuffix('/s').removesuffix('s')}"
                    figures[(*about, unit)] = (seconds - before[what]) / line["amount"] * 1e6
        if load.wait() != 0:
            sys.exit(f"the load failed; the server's log is:\n{(scratch / f'{name}.log').read_text()[-4000:]}")
    return figures


def table(results):
    """The medians as lines of text, one measure a line."""
    rows = list(dict.fromkeys(row for rounds in results.values() for figures in rounds for row in figures))
    titles = [f"{name}, {clients} clients, {unit}" for name, clients, unit in rows]
    width = max(map(len, titles))
    lines = ["  ".join(["".ljust(width), *(name.rjust(CELL) for name in results)])]
    for row, title in zip(rows, titles):
        cells = [cell([figures[row] for figures in rounds]) for rounds in results.values()]
        lines.append("  ".join([title.ljust(width), *cells]))
    return "\n".join(lines)


def cell(figures):
    spread = f" ({min(figures):,.1f}–{max(figures):,.1f})" if len(figures) > 1 else ""
    return f"{statistics.median(figures):,.1f}{spread}".rjust(CELL)


SIZES = {
    "clients": [1, 8],
    "commits": 10,
    "nodes": 1000,
    "instant_uploads": 100,
    "chunks": 8,
    "waiters": 1000,
    "told": 5,
}


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench --server", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("on", nargs="?", choices=["embedded", "mariadb", "real"], default="embedded")
    parser.add_argument("--rounds", type=int, default=3)
    for size, default in SIZES.items():
        several = {"nargs": "+"} if isinstance(default, list) else {}
        parser.add_argument(f"--{size.replace('_', '-')}", type=int, default=default, metavar="N", help=f"default: {default}", **several)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release"
    parser.add_argument("--binaries", type=pathlib.Path, nargs="+", default=[target], metavar="DIR")
    parser.add_argument("--load", type=pathlib.Path, default=target / "examples/load", help="the program that makes the load")
    parser.add_argument("--json", metavar="FILE", help="write every round's figures there")
    parser.add_argument("--directory", help="where to work (default: the directory for temporary files)")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    for program, words in ((arguments.binaries[0] / "miaofs-server", ["--bins"]), (arguments.load, ["--example", "load"])):
        if not program.exists():
            command = ["cargo", "build", "--release", "--locked", "--workspace", *words]
            subprocess.run(command, check=True, cwd=REPOSITORY, stdout=sys.stderr)
    # Each client that waits is a connection.
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    load = os.getloadavg()[0]
    results = {str(binaries): [] for binaries in arguments.binaries}
    with tempfile.TemporaryDirectory(prefix="miaofs-bench-", dir=arguments.directory) as scratch, contextlib.ExitStack() as stack:
        scratch, services = pathlib.Path(scratch), None
        if arguments.on != "embedded":
            parts = ["mariadb"] if arguments.on == "mariadb" else []
            services = stack.enter_context(Services(scratch / "services", parts))
        for number in range(arguments.rounds):
            turn = number % len(arguments.binaries)
            for binaries in arguments.binaries[turn:] + arguments.binaries[:turn]:
                print(f"round {number + 1} of {arguments.rounds}: {binaries}", file=sys.stderr)
                name = f"bench_{number}_{arguments.binaries.index(binaries)}"
                results[str(binaries)].append(measure(arguments, binaries, scratch, name, services))
    print(f"{os.cpu_count()} processors, Linux {platform.release()}, load {load:.1f} at the start, {arguments.rounds} rounds, {arguments.on}")
    print(table(results))
    if arguments.json:
        rounds = {name: [[[*row, figure] for row, figure in figures.items()] for figures in those] for name, those in results.items()}
        pathlib.Path(arguments.json).write_text(json.dumps(rounds, indent=2) + "\n")


if __name__ == "__main__":
    main()
