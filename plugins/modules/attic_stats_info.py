#!/usr/bin/python
# Copyright: (c) 2026, The pantheros.nixci contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: attic_stats_info
short_description: Figures about an Attic server from its database
version_added: 0.1.0
description:
  - Reads how much an Attic server stores, how well it deduplicates and compresses, what the next garbage collection removes,
    what nobody uses, and what is stuck.
  - Attic's HTTP API tells none of this, so the module reads the server's PostgreSQL database. A server on SQLite is not supported.
  - All figures are of the same moment. They are read in a read-only transaction that takes no lock beyond that of a C(SELECT),
    so uploads and garbage collections go on beside it. Only a migration of the tables waits, at most for the time of the queries.
  - Knows the tables of Attic since January 2023, up to commit b7c9056 of June 2026. Other tables are refused with what is missing.
author: The pantheros.nixci contributors (@pantheros)
extends_documentation_fragment:
  - pantheros.nixci._attributes
  - pantheros.nixci._postgresql
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
      - What to read. A run with the default asks seven queries.
      - V(usage) gives RV(caches) and RV(total). It reads C(object), C(nar) and C(chunk) once, so it grows with the number of rows.
      - V(health) gives RV(health). It uses indexes only, so it takes milliseconds on a healthy server of any size.
        Attic has two of these indexes since May and June 2026; on an older one it reads C(nar) and C(chunk) once.
      - V(garbage) gives RV(garbage). It also reads C(chunkref) once, which is the largest table, with one row for each 64 KiB of NARs.
      - V(sharing) gives RV(caches[].sharing) and includes V(usage). It is the heaviest, as it sorts C(chunkref) by chunk.
        Ask for it once a day at most on a large server, and raise O(statement_timeout).
      - Measured with 200,000 objects, 2 million chunks and 3 million rows in C(chunkref) on two processors with PostgreSQL 15,
        V(health) took 0.3 seconds, V(usage) 1 to 3, V(garbage) 7 and V(sharing) 8.
    type: list
    elements: str
    choices: [usage, health, garbage, sharing]
    default: [usage, health]
  default_retention_period:
    description:
      - The C(default-retention-period) in the server's configuration, which the database does not know. V(0) keeps entries for ever.
      - Whole seconds, or a duration such as V(30d) or V(1y 6months), where C(m) is a minute and C(M) a month.
    type: str
    default: "0"
  unused_days:
    description:
      - Count the objects that were neither pushed nor fetched for so many days, from 1 to 36500.
      - Attic takes note of a fetch of the NAR only, not of a look at the narinfo, and not of a push of a path that is there already.
    type: int
    default: 30
  stuck_after:
    description:
      - From which age on a row that is pending or held counts as stuck or leaked, as a duration. It must be longer than the longest upload.
    type: str
    default: 1d
  textfile:
    description:
      - A file for the textfile collector of Prometheus' node exporter, which gets RV(prometheus) as its content and the mode C(0644).
      - An absolute path that ends in C(.prom), in a directory that exists. The file is replaced in one step.
      - It is replaced in each run, so that C(node_textfile_mtime_seconds) tells how old the figures are.
        The task is C(changed) when the content or the mode differs.
    type: path
notes:
  - "The task runs where the database can be reached, usually on the NixOS host itself over the local socket, as a user of the operating system who has a role.
    The superuser C(postgres) has one (C(become: true), C(become_user: postgres))."
  - "A role of its own needs no more than this, given by the owner of the tables. It leaves out C(cache.keypair), where the signing keys are:
    V(GRANT SELECT (id, name, is_public, deleted_at, retention_period\\) ON cache TO attic_stats;)
    V(GRANT SELECT ON object, nar, chunk, chunkref, seaql_migrations TO attic_stats;)"
  - "On NixOS the Python of the task needs psycopg2, for example V(python3.withPackages (p: [ p.psycopg2 ]\\)) as C(ansible_python_interpreter)."
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
- name: How much the caches hold
  pantheros.nixci.attic_stats_info:
    login_unix_socket: /run/postgresql
  register: attic

- name: Tell it in one line for each cache
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.objects }} paths, {{ item.logical_bytes | human_readable }}, {{ item.unused_objects }} of them unused"
  loop: "{{ attic.caches }}"
  loop_control:
    label: "{{ item.name }}"

- name: Everything, over the network, with a password
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

- name: Figures for Prometheus
  pantheros.nixci.attic_stats_info:
    login_unix_socket: /run/postgresql
    textfile: "{{ node_exporter_textfiles }}/attic.prom"

- name: Nothing must be stuck, by a check that costs next to nothing
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
  description: The last migration that the server has made of its tables.
  returned: success
  type: str
  sample: m20260624_000001_remove_chunk_recovery
caches:
  description: Each cache, by name. Null unless O(gather) has V(usage).
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
      description: When it was destroyed, on a server with C(soft-delete-caches), else null. Its objects stay until their retention is over.
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
      description: Those that a garbage collection now would remove, since neither their push nor their last fetch is within the retention.
      type: int
      sample: 12
    unused_objects:
      description: Those neither pushed nor fetched for O(unused_days).
      type: int
      sample: 340
    logical_bytes:
      description: The sum of the sizes of the NARs, each counted for each object.
      type: int
      sample: 42949672960
    due_bytes:
      description: The same sum for RV(caches[].due_objects). It is not what becomes free, as chunks are shared; see RV(garbage.next_bytes).
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
      description: The push or fetch of the object that was not used for the longest time, in UTC. Null for an empty cache.
      type: str
      sample: "2026-04-02T11:00:00Z"
    sharing:
      description: What the cache refers to in the storage that all caches share. Null unless O(gather) has V(sharing).
      type: dict
      contains:
        unique_bytes:
          description: Its different chunks before compression.
          type: int
          sample: 17179869184
        stored_bytes:
          description: The same after compression.
          type: int
          sample: 6442450944
        exclusive_bytes:
          description: Of these, the chunks that no other cache uses. So much becomes free in Attic when the cache is destroyed
            and collected; on the bill later, see RV(total.stored_bytes).
          type: int
          sample: 2147483648
        deduplication_ratio:
          description: RV(caches[].logical_bytes) by RV(caches[].sharing.unique_bytes). Null where nothing is stored.
          type: float
          sample: 2.5
        compression_ratio:
          description: RV(caches[].sharing.unique_bytes) by RV(caches[].sharing.stored_bytes). Null where nothing is stored.
          type: float
          sample: 2.667
total:
  description: The whole server. Destroyed caches that still have rows are included. Null unless O(gather) has V(usage).
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
      description: Those that a garbage collection now would remove.
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
      description: Different NARs that are complete.
      type: int
      sample: 7900
    nar_bytes:
      description: Their sizes.
      type: int
      sample: 60129542144
    chunks:
      description: Different chunks that are complete, also those that nothing refers to any more.
      type: int
      sample: 391000
    unique_bytes:
      description: Their sizes before compression.
      type: int
      sample: 25769803776
    stored_bytes:
      description:
        - Their sizes after compression, as they lie in the storage.
        - Backblaze also bills marked chunks (RV(health.deleting_bytes)), files of stuck chunks, unfinished uploads, and hidden
          versions until the bucket's lifecycle rule deletes them (30 days with role C(b2)).
      type: int
      sample: 9663676416
    deduplication_ratio:
      description: RV(total.logical_bytes) by RV(total.unique_bytes), how often each stored byte is used. Null where nothing is stored.
      type: float
      sample: 2.5
    compression_ratio:
      description: RV(total.unique_bytes) by RV(total.stored_bytes). Null where nothing is stored.
      type: float
      sample: 2.667
health:
  description: What an upload or a collection has left behind. Null unless O(gather) has V(health).
  returned: success
  type: dict
  contains:
    pending_nars:
      description: NARs whose upload has not ended.
      type: int
      sample: 1
    stuck_nars:
      description: Of these, those older than O(stuck_after). Their upload was cut short, and no collection removes them
        (U(https://github.com/zhaofengli/attic/issues/64)).
      type: int
      sample: 0
    pending_chunks:
      description: Chunks whose upload has not ended.
      type: int
      sample: 4
    stuck_chunks:
      description: Of these, those older than O(stuck_after). No collection removes them, and their files may lie in the storage.
      type: int
      sample: 0
    held_nars:
      description: NARs that an upload protects from the collection, by C(holders_count).
      type: int
      sample: 0
    leaked_nars:
      description:
        - Of these, those made before O(stuck_after). A server that is killed never gives them free, and no collection removes them
          (U(https://github.com/zhaofengli/attic/issues/66)).
        - An upload of the same content holds an old row for a moment as well, and the database does not tell who holds it.
          So a figure is proof only when it stays, or while the server is stopped.
      type: int
      sample: 0
    held_chunks:
      description: Chunks that an upload protects from the collection.
      type: int
      sample: 3
    leaked_chunks:
      description: As RV(health.leaked_nars), without the chunks that a pending NAR younger than O(stuck_after) refers to.
      type: int
      sample: 0
    deleting_chunks:
      description: Chunks that a collection has marked and could not remove yet; the next one tries again.
      type: int
      sample: 0
    deleting_bytes:
      description: Their sizes in the storage.
      type: int
      sample: 0
    broken_nars:
      description:
        - NARs that have lost a chunk, so that the server answers 503.
        - C(attic push) does not mend it, because the server does not report the path as missing. An upload that skips that
          question mends it in that cache; the figure falls with the next collection.
      type: int
      sample: 0
garbage:
  description: What nothing refers to now, and what the next collection would do now. Null unless O(gather) has V(garbage).
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
      description: Objects whose retention is over.
      type: int
      sample: 12
    next_nars:
      description: NARs that no object refers to then, orphans included.
      type: int
      sample: 13
    next_chunks:
      description: Chunks that no NAR refers to then, with the orphans and with those that an earlier collection has marked.
      type: int
      sample: 820
    next_bytes:
      description: Their sizes in the storage. So much becomes free in Attic; on the bill later, see RV(total.stored_bytes).
      type: int
      sample: 33554432
    next_collections:
      description: How many collections it takes, as each one removes 65535 chunks at most.
      type: int
      sample: 1
prometheus:
  description:
    - All figures that were gathered in Prometheus' text format, as gauges such as C(attic_cache_objects{cache="ci-cache"}) and C(attic_stored_bytes).
    - Figures that are null are left out.
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
