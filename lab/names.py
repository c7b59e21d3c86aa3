# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and addresses of all parts of the lab. No logic."""

from __future__ import annotations

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
LABEL = "nixci.lab"  # on the containers and the network of a lab; the value is its checkout
IMAGE_LABEL = "nixci.lab.image"  # on its images and their intermediate steps

NETWORK = "nixci-lab"
SUBNET = "10.213.87.0/24"
GATEWAY = "10.213.87.1"  # this machine, as the containers see it; the doubles listen here
ACME_ADDRESS = "10.213.87.2"
HOST_ADDRESS = "10.213.87.10"
SMALL_ADDRESS = "10.213.87.11"

HOST_CONTAINER = "nixci-lab-host"
ACME_CONTAINER = "nixci-lab-acme"
HOST_NAME = "hetzner-vps"
SMALL_CONTAINER = "nixci-lab-small"
SMALL_NAME = "ovh-vps"

PORTS = {"b2": 8701, "s3": 8702, "cloudflare": 8703, "onepassword": 8704, "gitlab": 8705}
URLS = {service: f"http://{GATEWAY}:{port}" for service, port in PORTS.items()}

ZONE = "nixci.test"
DOMAIN = f"cache.{ZONE}"
ACME_DOMAIN = f"acme.{ZONE}"
ACME_DIRECTORY = f"https://{ACME_DOMAIN}/acme/lab/directory"

VAULT = "pantherOS"
GITLAB_PROJECT = "pantheros/fleet"
B2_REGION = "eu-central-003"
