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
      - The host to connect to over TCP. Omit it for the local socket.
    type: str
  login_unix_socket:
    description:
      - The directory of the local socket, V(/run/postgresql) on NixOS and Debian. Mutually exclusive with O(login_host).
      - The default without this and O(login_host) is that of the host's PostgreSQL library, which is the same directory on both systems.
    type: path
  login_port:
    description: The port, which is also part of the socket's name.
    type: int
    default: 5432
  login_user:
    description: The role. The default is the name of the operating system user who runs the task.
    type: str
  login_password:
    description:
      - The password of the role, if it needs one.
      - The default is the one in the password file, E(PGPASSFILE) or C(~/.pgpass) of the user who runs the task, which must have the mode C(0600).
    type: str
  ssl_mode:
    description:
      - How TCP connections are protected, with the terms of PostgreSQL. The local socket needs no protection.
      - Only V(verify-full) verifies the identity of the server; use it on every network that is not yours.
    type: str
    choices: [disable, allow, prefer, require, verify-ca, verify-full]
    default: prefer
  ca_cert:
    description: The file with the certificates of the trusted authorities. The default is that of PostgreSQL, C(~/.postgresql/root.crt).
    type: path
  connect_timeout:
    description: How many seconds to wait for a connection, from 1 to 300.
    type: int
    default: 10
  statement_timeout:
    description: How many seconds each query may take, from 1 to 3600. PostgreSQL then cancels the query.
    type: int
    default: 60
requirements:
  - psycopg2 2.9 or newer on the machine that runs the task
"""
