#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_stats_info
short_description: Read figures about an Attic server from its database
version_added: 0.1.0
description:
  - Reads how much an Attic server stores, how well it deduplicates and compresses, what the next garbage collection removes,
    what nobody uses, and what is stuck.
  - Attic's HTTP API does not offer these figures, so the module reads the server's PostgreSQL database. A server on SQLite is not supported.
  - All figures refer to the same moment. They are read in a read-only transaction whose only lock is that of a C(SELECT),
    so uploads and garbage collections continue. Only a migration of the tables waits, at most for the time of the queries.
  - Supports the tables of Attic from January 2023 up to commit b7c9056 of June 2026. Other tables are refused, and the message names what is missing.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._postgresql
  - ansible.builtin.files
attributes:
  check_mode:
    details: Everything is read, and O(textfile) is not written.
  diff_mode:
    details: Shows O(textfile) line by line.
  idempotent:
    details: As long as the figures stay the same. Those of a cache in use do not.
options:
  gather:
    description:
      - What to read. The default takes seven queries.
      - V(usage) returns RV(caches) and RV(total). It reads C(object), C(nar) and C(chunk) once, so its time grows with the number of rows.
      - V(health) returns RV(health). It only uses indexes, so it takes milliseconds on a healthy server of any size.
        Attic has two of these indexes since May and June 2026; on an older server it reads C(nar) and C(chunk) once.
      - V(garbage) returns RV(garbage). It also reads C(chunkref) once, the largest table, with one row for each 64 KiB of NARs.
      - V(sharing) returns RV(caches[].sharing) and includes V(usage). It is the most expensive, because it sorts C(chunkref) by chunk.
        On a large server, request it once a day at most and raise O(statement_timeout).
      - Measured with 200,000 objects, 2 million chunks and 3 million rows in C(chunkref) on two processors with PostgreSQL 15,
        V(health) took 0.3 seconds, V(usage) 1 to 3, V(garbage) 7 and V(sharing) 8.
    type: list
    elements: str
    choices: [usage, health, garbage, sharing]
    default: [usage, health]
  default_retention_period:
    description:
      - The C(default-retention-period) in the server's configuration, which the database does not contain. V(0) keeps entries for ever.
      - Whole seconds, or a duration such as V(30d) or V(1y 6months), where C(m) is a minute and C(M) a month.
    type: str
    default: "0"
  unused_days:
    description:
      - An object counts as unused if it was neither pushed nor fetched for this many days, from 1 to 36500.
      - Attic only records fetches of the NAR. It does not record requests for the narinfo or pushes of a path that it already has.
    type: int
    default: 30
  stuck_after:
    description:
      - The age from which a pending row counts as stuck and a held one as leaked, as a duration. It must be longer than the longest upload.
    type: str
    default: 1d
  textfile:
    description:
      - A file for the textfile collector of Prometheus' node exporter, with RV(prometheus) as its content.
      - An absolute path that ends in C(.prom), in an existing directory. The file is replaced in one step.
      - It is replaced in each run, so that C(node_textfile_mtime_seconds) shows how old the figures are.
        The task is C(changed) if the content, the mode, the owner or the group differs.
    type: path
  mode:
    description:
      - The mode of O(textfile), as for M(ansible.builtin.file), for example V('0644') or V(u=rw,g=r).
      - The default is V('0644'), because the collector runs as its own user.
    type: raw
notes:
  - "Run the task where the database can be reached, usually on the NixOS host itself over the local socket, as an operating system user who has a role.
    The superuser C(postgres) has one (C(become: true), C(become_user: postgres))."
  - "A separate role needs no more than these rights, granted by the owner of the tables. They exclude C(cache.keypair), which holds the signing keys:
    V(GRANT SELECT (id, name, is_public, deleted_at, retention_period\\) ON cache TO attic_stats;)
    V(GRANT SELECT ON object, nar, chunk, chunkref, seaql_migrations TO attic_stats;)"
  - "On NixOS the Python of the task needs psycopg2, for example V(python3.withPackages (p: [ p.psycopg2 ]\\)) as C(ansible_python_interpreter).
    A host of P(pantheros.nixci.attic#role) has one, V(/etc/nixci/python3)."
seealso:
  - module: pantheros.nixci.attic_cache
  - name: Attic's garbage collection
    description: The rules that these figures follow.
    link: https://github.com/zhaofengli/attic/blob/b7c905657cb81b8ec9c26b0d9f53aa2e4f231810/server/src/gc.rs
  - name: Textfile collector
    description: How the node exporter reads the file.
    link: https://github.com/prometheus/node_exporter#textfile-collector
"""

EXAMPLES = r"""
- name: Read how much the caches hold
  pantheros.nixci.attic_stats_info:
    login_unix_socket: /run/postgresql
  register: attic

- name: Show one line for each cache
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.objects }} paths, {{ item.logical_bytes | human_readable }}, {{ item.unused_objects }} of them unused"
  loop: "{{ attic.caches }}"
  loop_control:
    label: "{{ item.name }}"

- name: Read everything, over the network, with a password
  pantheros.nixci.attic_stats_info:
    login_host: db.example.org
    login_user: attic_stats
    login_password: "{{ attic_stats_password }}"
    ssl_mode: verify-full
    ca_cert: /etc/ssl/certs/example-ca.pem
    gather: [usage, health, garbage, sharing]
    default_retention_period: 90d
    unused_days: 60
    statement_timeout: 600
  register: everything

- name: Write the figures for Prometheus
  pantheros.nixci.attic_stats_info:
    login_unix_socket: /run/postgresql
    textfile: "{{ node_exporter_textfiles }}/attic.prom"

- name: Check at little cost that nothing is stuck
  pantheros.nixci.attic_stats_info:
    login_unix_socket: /run/postgresql
    gather: [health]
  register: attic
  failed_when: attic is failed or attic.health.stuck_nars + attic.health.stuck_chunks > 0
"""

RETURN = r"""
taken_at:
  description: The moment of all figures, in UTC, by the clock of the database.
  returned: success
  type: str
  sample: "2026-07-01T04:00:00Z"
schema:
  description: The last migration of its tables that the server has run.
  returned: success
  type: str
  sample: m20260624_000001_remove_chunk_recovery
caches:
  description: All caches, sorted by name. Null unless O(gather) includes V(usage).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: ci-cache
    is_public:
      description: Whether everybody may read.
      type: bool
      sample: false
    deleted_at:
      description: When it was destroyed, on a server with C(soft-delete-caches), otherwise null. Its objects stay until their retention ends.
      type: str
      sample: null
    retention_period:
      description: Seconds, 0 for ever, or V(global).
      type: raw
      sample: global
    effective_retention_period:
      description: Seconds, 0 for ever. For V(global) it is O(default_retention_period).
      type: int
      sample: 7776000
    objects:
      description: Store paths.
      type: int
      sample: 5210
    due_objects:
      description: Those that a garbage collection would remove now, because neither their push nor their last fetch is within the retention.
      type: int
      sample: 12
    unused_objects:
      description: Those neither pushed nor fetched for O(unused_days).
      type: int
      sample: 340
    logical_bytes:
      description: The sum of the sizes of the NARs, counted once for each object.
      type: int
      sample: 42949672960
    due_bytes:
      description: The same sum for RV(caches[].due_objects). Less space becomes free, because chunks are shared; see RV(garbage.next_bytes).
      type: int
      sample: 104857600
    unused_bytes:
      description: The same sum for RV(caches[].unused_objects).
      type: int
      sample: 2147483648
    last_push:
      description: When the newest object was pushed, in UTC. Null for an empty cache.
      type: str
      sample: "2026-07-01T03:12:45Z"
    oldest_use:
      description: The last push or fetch of the object that has been unused for the longest time, in UTC. Null for an empty cache.
      type: str
      sample: "2026-04-02T11:00:00Z"
    sharing:
      description: What the cache refers to in the storage that all caches share. Null unless O(gather) includes V(sharing).
      type: dict
      contains:
        unique_bytes:
          description: The size of its distinct chunks before compression.
          type: int
          sample: 17179869184
        stored_bytes:
          description: The same after compression.
          type: int
          sample: 6442450944
        exclusive_bytes:
          description: The part of RV(caches[].sharing.stored_bytes) in chunks that no other cache uses. It becomes free in Attic
            when the cache is destroyed and collected, and disappears from the bill later, see RV(total.stored_bytes).
          type: int
          sample: 2147483648
        deduplication_ratio:
          description: RV(caches[].logical_bytes) divided by RV(caches[].sharing.unique_bytes). Null if nothing is stored.
          type: float
          sample: 2.5
        compression_ratio:
          description: RV(caches[].sharing.unique_bytes) divided by RV(caches[].sharing.stored_bytes). Null if nothing is stored.
          type: float
          sample: 2.667
total:
  description: The whole server, including destroyed caches that still have rows. Null unless O(gather) includes V(usage).
  returned: success
  type: dict
  contains:
    caches:
      description: Caches in use.
      type: int
      sample: 2
    deleted_caches:
      description: Caches that were destroyed and whose rows the server keeps.
      type: int
      sample: 0
    objects:
      description: Store paths in all caches.
      type: int
      sample: 8120
    logical_bytes:
      description: The sum of the sizes of their NARs.
      type: int
      sample: 64424509440
    due_objects:
      description: Those that a garbage collection would remove now.
      type: int
      sample: 12
    due_bytes:
      description: The sum of the sizes of their NARs.
      type: int
      sample: 104857600
    unused_objects:
      description: Those neither pushed nor fetched for O(unused_days).
      type: int
      sample: 340
    unused_bytes:
      description: The sum of the sizes of their NARs.
      type: int
      sample: 2147483648
    nars:
      description: Distinct NARs that are complete.
      type: int
      sample: 7900
    nar_bytes:
      description: Their sizes.
      type: int
      sample: 60129542144
    chunks:
      description: Distinct chunks that are complete, including those that nothing refers to any more.
      type: int
      sample: 391000
    unique_bytes:
      description: Their sizes before compression.
      type: int
      sample: 25769803776
    stored_bytes:
      description:
        - Their sizes after compression, as they are stored.
        - Backblaze also bills marked chunks (RV(health.deleting_bytes)), files of stuck chunks, unfinished uploads, and hidden
          versions until the bucket's lifecycle rule deletes them (30 days with role C(b2)).
      type: int
      sample: 9663676416
    deduplication_ratio:
      description: RV(total.logical_bytes) divided by RV(total.unique_bytes), that is how often each stored byte is used. Null if nothing is stored.
      type: float
      sample: 2.5
    compression_ratio:
      description: RV(total.unique_bytes) divided by RV(total.stored_bytes). Null if nothing is stored.
      type: float
      sample: 2.667
health:
  description: What uploads and collections have left behind. Null unless O(gather) includes V(health).
  returned: success
  type: dict
  contains:
    pending_nars:
      description: NARs whose upload has not finished.
      type: int
      sample: 1
    stuck_nars:
      description: Those of them that are older than O(stuck_after). Their upload was interrupted, and no collection removes them
        (U(https://github.com/zhaofengli/attic/issues/64)).
      type: int
      sample: 0
    pending_chunks:
      description: Chunks whose upload has not finished.
      type: int
      sample: 4
    stuck_chunks:
      description: Those of them that are older than O(stuck_after). No collection removes them, and their files may still be stored.
      type: int
      sample: 0
    held_nars:
      description: NARs that an upload protects from collection by C(holders_count).
      type: int
      sample: 0
    leaked_nars:
      description:
        - Those of them that are older than O(stuck_after). A server that is killed never releases them, one that is stopped during an
          upload hardly any, and no collection removes them (U(https://github.com/zhaofengli/attic/issues/66)).
        - On a host of P(pantheros.nixci.attic#role), the next start of the server releases them, and RV(health.stuck_nars) and
          RV(health.stuck_chunks) too, unless another server uses the database.
        - An upload of the same content also holds an old row for a moment, and the database does not record who holds it.
          So the figure only indicates a leak if it persists, or while the server is stopped.
      type: int
      sample: 0
    held_chunks:
      description: Chunks that an upload protects from collection.
      type: int
      sample: 3
    leaked_chunks:
      description: Like RV(health.leaked_nars), except for chunks to which a pending NAR younger than O(stuck_after) refers.
      type: int
      sample: 0
    deleting_chunks:
      description: Chunks that a collection has marked and not yet removed; the next one tries again.
      type: int
      sample: 0
    deleting_bytes:
      description: Their sizes in the storage.
      type: int
      sample: 0
    broken_nars:
      description:
        - NARs that have lost a chunk, for which the server answers 503.
        - C(attic push) does not repair them, because the server does not report the path as missing. An upload without that
          check repairs it in that cache; the figure drops with the next collection.
      type: int
      sample: 0
garbage:
  description: What nothing refers to, and what a collection would remove now. Null unless O(gather) includes V(garbage).
  returned: success
  type: dict
  contains:
    orphaned_nars:
      description: NARs without an object, which the next collection removes.
      type: int
      sample: 3
    orphaned_nar_bytes:
      description: Their sizes.
      type: int
      sample: 1048576
    orphaned_chunks:
      description: Chunks without a NAR, which the next collection removes.
      type: int
      sample: 17
    orphaned_bytes:
      description: Their sizes in the storage.
      type: int
      sample: 524288
    next_objects:
      description: Objects whose retention has ended.
      type: int
      sample: 12
    next_nars:
      description: NARs to which no object refers after that, including orphans.
      type: int
      sample: 13
    next_chunks:
      description: Chunks to which no NAR refers after that, including orphans and those that an earlier collection has marked.
      type: int
      sample: 820
    next_bytes:
      description: Their sizes in the storage. This becomes free in Attic, and disappears from the bill later, see RV(total.stored_bytes).
      type: int
      sample: 33554432
    next_collections:
      description: How many collections this takes, because each one removes at most 65535 chunks.
      type: int
      sample: 1
prometheus:
  description:
    - All gathered figures in Prometheus' text format, as gauges such as C(attic_cache_objects{cache="ci-cache"}) and C(attic_stored_bytes).
    - Figures that are null are omitted.
  returned: success
  type: str
  sample: |
    # HELP attic_cache_objects Store paths in the cache.
    # TYPE attic_cache_objects gauge
    attic_cache_objects{cache="ci-cache"} 5210
"""

import dataclasses

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._attic.metrics import gauges
from ..module_utils._attic.stats import SECTIONS, Row, Scope, gather
from ..module_utils._core.change import Change
from ..module_utils._core.postgresql import postgresql_argument_spec, snapshot
from ..module_utils._core.prometheus import Existing, Textfile, exposition
from ..module_utils._core.resource import Params, Result, converge, finish


@dataclasses.dataclass(frozen=True)
class Found:
    figures: Row
    textfile: Existing | None


@dataclasses.dataclass(frozen=True)
class Report:
    change: Change
    figures: Row
    text: str


class StatsResource:
    """The figures, and the textfile that shows them."""

    def __init__(self, module: AnsibleModule) -> None:
        params = module.params
        self.scope = Scope.from_params(params)
        self.textfile = Textfile(module, params["textfile"]) if params["textfile"] else None

    def read(self, params: Params) -> Found:
        existing = self.textfile.read() if self.textfile else None
        with snapshot(params) as db:
            return Found(gather(db, self.scope), existing)

    def plan(self, params: Params, found: Found) -> Report:
        text = exposition(gauges(found.figures))
        change = self.textfile.plan(found.textfile, text) if self.textfile and found.textfile else Change(None, None)
        return Report(change, found.figures, text)

    def predict(self, plan: Report) -> Result:
        return {**plan.figures, "prometheus": plan.text}

    def apply(self, plan: Report) -> Result:
        self.write(plan.text)
        return self.predict(plan)

    def write(self, text: str) -> None:
        if self.textfile:
            self.textfile.write(text)


def report(module: AnsibleModule) -> Result:
    resource = StatsResource(module)
    result = converge(resource, module.params, module.check_mode)
    if not result["changed"] and not module.check_mode:
        resource.write(result["prometheus"])  # its age shows how old the figures are
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **postgresql_argument_spec(),
            "gather": {
                "type": "list",
                "elements": "str",
                "choices": list(SECTIONS),
                "default": ["usage", "health"],
            },
            "default_retention_period": {"type": "str", "default": "0"},
            "unused_days": {"type": "int", "default": 30},
            "stuck_after": {"type": "str", "default": "1d"},
            "textfile": {"type": "path"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    finish(module, lambda: report(module))


if __name__ == "__main__":
    main()
