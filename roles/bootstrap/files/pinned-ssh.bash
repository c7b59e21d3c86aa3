#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# For BASH_ENV: puts the ssh that checks host keys before all others.
PATH=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/pinned-ssh:$PATH
