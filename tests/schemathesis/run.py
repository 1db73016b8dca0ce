"""Attacks a server by its own document, as everybody who may come: `just schemathesis`.

The server is a real one on loopback with simulated machines, in a folder that vanishes. Whatever schemathesis finds, an
answer of 500 or more, or a credential that did not last until the end makes this fail.
"""

import argparse
import hashlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

import requests

HERE = pathlib.Path(__file__).parent
DOCUMENT = HERE.parent.parent / "openapi.json"
SCHEMATHESIS = pathlib.Path(sys.executable).parent / "schemathesis"
PASSWORD = "a horse, a battery"
AGENT = "berth_agent_" + "0" * 64
AGENTS_PATHS = "^/v1/agent/"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--server", required=True, help="the binary")
    arguments.add_argument("--short", action="store_true", help="a few examples of each operation, the same each time")
    arguments.add_argument("--only", help="one kind of caller")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(arguments.server, pathlib.Path(folder))
        try:
            failed = [kind for kind in server.callers() if arguments.only in (None, kind.name) and not kind.attack(arguments.short)]
        finally:
            log = server.stop()
    if "panicked" in log or "a request failed" in log:
        sys.exit(f"something failed inside the server:\n{log}")
    if failed:
        sys.exit("failed as: " + ", ".join(kind.name for kind in failed))


class Caller:
    """Somebody, and which operations they try."""

    def __init__(self, name, url, *, token=None, password=None, without=None, only=None, own=()):
        self.name, self.url, self.token, self.password = name, url, token, password
        self.without, self.only, self.own = without, only, own

    def attack(self, short):
        flags = ["--url", self.url, "--checks", "all", "--continue-on-failure", "--max-response-time", "70", "--request-timeout", "75"]
        if short:
            flags += ["--phases", "fuzzing,stateful", "--max-examples", "2", "--seed", "1", "--generation-deterministic", "--no-shrink"]
        if self.token:
            flags += ["--header", f"Authorization: Bearer {self.token}"]
        if self.password:
            flags += ["--auth", self.password]
        if self.only:
            flags += ["--include-path-regex", self.only]
        else:
            flags += ["--exclude-path-regex", AGENTS_PATHS]
        for operation in self.without or []:
            flags += ["--exclude-operation-id", operation]
        print(f"\n== as {self.name}", flush=True)
        began = time.monotonic()
        command = [SCHEMATHESIS, "--config-file", HERE / "schemathesis.toml", "run", DOCUMENT, *flags]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "BERTH_OWN": " ".join(self.own)}
        done = subprocess.run(command, env=environment, cwd=tempfile.gettempdir())
        print(f"== {self.name}: {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
        return done.returncode == 0 and self.is_still_known()

    def is_still_known(self):
        if self.only or not (self.token or self.password):
            return True
        auth = tuple(self.password.split(":", 1)) if self.password else None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        status = requests.get(f"{self.url}/v1/me", auth=auth, headers=headers, timeout=10).status_code
        if status != 200:
            print(f"the credential was lost on the way: {status}")
        return status == 200


class Server:
    def __init__(self, binary, folder):
        self.folder = folder
        self.api, self.door = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        flags = ["--listen", self.api[7:], "--agent-listen", self.door[7:], "--database", "data/berth.db"]
        flags += ["--bcrypt-cost", "10", "--requests-per-second", "1000000"]
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen([os.path.abspath(binary), *flags], cwd=folder, stdout=log, stderr=log)
        self.until(lambda: requests.get(f"{self.api}/healthz", timeout=5).ok)
        self.populate()

    def until(self, met):
        for _ in range(600):
            try:
                if met():
                    return
            except requests.RequestException:
                pass
            if self.process.poll() is not None:
                sys.exit("the server ended:\n" + (self.folder / "log").read_text())
            time.sleep(0.1)
        sys.exit("the server did not come up:\n" + (self.folder / "log").read_text())

    def populate(self):
        self.send("POST", "/v1/accounts", {"name": "root", "password": PASSWORD, "role": "admin"})
        self.admin = self.log_in("root")
        self.send("POST", "/v1/accounts", {"name": "alice", "password": PASSWORD}, self.admin)
        self.user = self.log_in("alice")
        narrow = self.send("POST", "/v1/tokens", {"name": "narrow", "machines": 1, "longest": "1h"}, self.user)
        self.narrow = narrow["token"]
        self.send("PUT", "/v1/pools/lab", {"provider": "simulated", "size": 30}, self.admin)
        self.until(lambda: self.send("GET", "/v1/availability", None, self.admin)["free"] == 30)
        join = self.send("POST", "/v1/machines", {"name": "m1", "host": "127.0.0.1"}, self.admin)["join_token"]
        digest = hashlib.sha256(AGENT.encode()).hexdigest()
        self.send("POST", "/v1/agent/enrol", {"join_token": join, "credential_sha256": digest}, url=self.door)

    def send(self, method, path, body, token=None, url=None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.request(method, (url or self.api) + path, json=body, headers=headers, timeout=60)
        if not answer.ok:
            sys.exit(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def log_in(self, name):
        return self.send("POST", "/v1/login", {"account": name, "password": PASSWORD})["token"]

    def callers(self):
        tokens = [item["id"] for token in (self.user, self.admin) for item in self.send("GET", "/v1/tokens", None, token)["items"]]
        own = ["root", "alice", *tokens]
        # A token that logs out is none any longer; who comes with a password may.
        stays = ["session_delete"]
        return [
            Caller("nobody", self.api),
            Caller("a user's token", self.api, token=self.user, without=stays, own=own),
            Caller("a narrow token", self.api, token=self.narrow, without=stays, own=own),
            Caller("a user's password", self.api, password=f"alice:{PASSWORD}", own=own),
            Caller("an admin's token", self.api, token=self.admin, without=stays, own=own),
            Caller("an agent", self.door, token=AGENT, only=AGENTS_PATHS),
        ]

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        return (self.folder / "log").read_text()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


if __name__ == "__main__":
    main()
