# SPDX-License-Identifier: GPL-3.0-or-later
"""How often Nix found what it asked the caches for, by day and cache, from the access logs of Caddy.

nixci-hit-rate [DAYS]     of the last DAYS days, by default of all that the logs have

HITS and MISSES are store paths that were found or not; AWAY are those that were asked for while the cache server was away
or failed, which is neither. BYTES are of NARs that went through Caddy; what the storage sent by itself is not among them.
"""

import collections
import datetime
import glob
import gzip
import json
import re
import sys

PATH = re.compile(r"/(?P<cache>[^/]+)/(?:(?P<narinfo>[^/]+\.narinfo)|nar/.+)")


def lines(folder):
    for path in sorted(glob.glob(glob.escape(folder) + "/access-*.log*")):
        opener = gzip.open if path.endswith(".gz") else open
        try:
            with opener(path, "rt", errors="replace") as file:
                yield from file
        except (EOFError, FileNotFoundError):  # it is being compressed at the moment
            continue


def count(log, since):
    """(day, cache) -> Counter"""
    counts = collections.defaultdict(collections.Counter)
    for line in log:
        try:
            entry = json.loads(line)
            day, request, status = str(entry["ts"])[:10], entry["request"], entry["status"]
            found = PATH.fullmatch(request["uri"])
            if not found or request["method"] not in ("GET", "HEAD") or day < since:
                continue
        except (ValueError, KeyError, TypeError):
            continue  # not a line of ours
        one = counts[day, found["cache"]]
        if not found["narinfo"]:
            one["bytes"] += entry["size"] if status == 200 else 0
        elif "Retry-After" in entry.get("resp_headers", {}):
            one["away"] += 1
        elif status in (200, 404):
            one["hits" if status == 200 else "misses"] += 1
    return counts


def main(folder, days=None):
    since = ""
    if days is not None:
        if not days.isdecimal():
            sys.exit(f"nixci-hit-rate: '{days}' is not a number of days.")
        since = str(datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=int(days)))
    row = "{:10}  {:24} {:>7} {:>9} {:>9} {:>7} {:>15}".format
    print(row("DAY", "CACHE", "RATE", "HITS", "MISSES", "AWAY", "BYTES"))
    for (day, cache), one in sorted(count(lines(folder), since).items()):
        asked = one["hits"] + one["misses"]
        rate = f"{100 * one['hits'] / asked:.1f} %" if asked else "-"
        print(row(day, cache, rate, one["hits"], one["misses"], one["away"], one["bytes"]))


if __name__ == "__main__":
    main(*sys.argv[1:3])
