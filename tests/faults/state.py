# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host of the fault suite and prints what there is to say of its state as JSON."""

import json
import os
import subprocess

PROFILE = "/nix/var/nix/profiles/system"
BOOT_LOADER = "/usr/lib/nixos-standin/activate/boot_loader.py"


def show(unit, *properties):
    out = subprocess.run(
        ["systemctl", "show", unit, *(f"--property={name}" for name in properties)], capture_output=True, text=True
    ).stdout
    return dict(line.split("=", 1) for line in out.splitlines())


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def boot_default():
    return subprocess.run(["python3", BOOT_LOADER], capture_output=True, text=True).stdout.strip()


def environment(pid):
    """Of a running process, so it says which system has started it, and not which one systemd has read."""
    return dict(entry.split("=", 1) for entry in read(f"/proc/{pid}/environ").split("\0") if "=" in entry)


app = show("app.service", "ActiveState", "MainPID")
failed = "/var/lib/nixci/failed"
print(
    json.dumps(
        {
            "running": os.path.realpath("/run/current-system"),
            "profile": os.path.realpath(PROFILE),
            "boot": boot_default(),
            "app": environment(app["MainPID"]).get("SYSTEM", app["ActiveState"]),
            "sshd": show("sshd.service", "ActiveState")["ActiveState"],
            "pending": dict(line.split("=", 1) for line in read("/var/lib/nixci/deployment").splitlines()),
            "remembered": sorted(os.listdir(failed)) if os.path.isdir(failed) else [],
            "records": [json.loads(line) for line in read("/var/log/nixci/deployments.jsonl").splitlines()],
            "timer": show("nixci-revert.timer", "ActiveState")["ActiveState"],
            "activating": show("nixci-activation.service", "ActiveState")["ActiveState"],
        }
    )
)
