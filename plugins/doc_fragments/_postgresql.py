# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that reads a PostgreSQL database. Private: may change without notice."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  login_db:
    description: The name of the database.
    type: str
    default: atticd
  login_host:
    description:
      - The host to connect to over TCP. Leave out for the local socket.
    type: str
  login_unix_socket:
    description:
      - The directory of the local socket, V(/run/postgresql) on NixOS and Debian. Not together with O(login_host).
      - Without this and O(login_host) it is where the host's PostgreSQL library looks by itself, the same on both systems.
    type: path
  login_port:
    description: The port; it is part of the socket's name as well.
    type: int
    default: 5432
  login_user:
    description: The role. Without it the role is named like the user of the operating system who runs the task.
    type: str
  login_password:
    description:
      - The password of the role, where it needs one.
      - Without it the password file is asked, E(PGPASSFILE) or C(~/.pgpass) of the user who runs the task, which must have the mode C(0600).
    type: str
  ssl_mode:
    description:
      - How TCP connections are protected, in the words of PostgreSQL. The local socket needs none of it.
      - V(verify-full) alone proves that it is the right server; use it on every network that is not yours.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: The file with the certificates of the authorities to trust. Without it PostgreSQL's own default counts, C(~/.postgresql/root.crt).
    type: path
  connect_timeout:
    description: Seconds to wait for a connection, from 1 to 300.
    type: int
    default: 10
  statement_timeout:
    description: Seconds that each query may take, from 1 to 3600. PostgreSQL itself ends the query then.
    type: int
    default: 60
requirements:
  - psycopg2 2.9 or newer on the machine that runs the task
"""
