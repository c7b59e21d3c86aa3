#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# nixci-restore: puts a dump in the place of a database. The dump goes into a database beside it, and then the two change
# names in one transaction, so an interruption leaves the old one or the new one, and never a part. The old one is kept
# unless it is empty. backup.nix sets the NIXCI_* variables.
set -euo pipefail
shopt -s inherit_errexit

export PGOPTIONS=--client-min-messages=warning
STOPPED=/run/nixci-restore.stopped

usage() {
  echo "Usage: nixci-restore DATABASE [--from SOURCE] [--host NAME] [--replace DATABASE]
  --from      latest (the newest dump on this host, the default), the name of a dump in $NIXCI_FOLDER, a path,
              offsite (the newest snapshot off the host), or offsite:ID; 'nixci-backup list' shows them all
  --host      the host that made the snapshot, by default this one, $NIXCI_HOST
  --replace   repeats the name of the database, if that is not empty" >&2
  exit 64
}

fail() {
  echo "$1" >&2
  exit 1
}

say() { echo "$1" 2>/dev/null || :; } # whoever reads it may be gone

# Also by systemd when this ends in another way.
start_again() {
  [ -e "$STOPPED" ] || return 0
  systemctl start atticd.service
  rm "$STOPPED"
}

sql() { # DATABASE STATEMENT
  runuser -u postgres -- psql --no-psqlrc --no-password --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --dbname="$1" <<<"$2"
}

tables() { sql "$1" "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"; }

# absent, empty or filled: whether a table has a row. The list of migrations, which any server makes, does not count.
state() {
  local found rows
  found=$(sql postgres "SELECT 1 FROM pg_database WHERE datname = '$1'")
  [ "$found" ] || { echo absent; return; }
  rows=$(sql "$1" "SELECT format('SELECT EXISTS (SELECT FROM %I.%I)', schemaname, tablename) FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tablename <> 'seaql_migrations' \gexec")
  if [[ $rows == *t* ]]; then echo filled; else echo empty; fi
}

may_replace() {
  local state
  state=$(state "$database")
  [ "$state" != filled ] || [ "$replace" = "$database" ] ||
    fail "The database $database is not empty, so nothing was changed. Repeat its name (--replace $database, in the playbook restore_replace=$database) to put the dump in its place; the present one is then kept under another name."
}

read_dump() { # the dump itself, on stdout
  say "Reading $file${snapshot:+ from $RESTIC_REPOSITORY}." >&2
  if [ "$snapshot" ]; then
    nixci-backup restic --quiet dump --host="$host" --tag="$database" "$snapshot" "$file"
  else
    cat "$file"
  fi
}

copied_file() { # its path in the snapshot
  nixci-backup restic --quiet ls --host="$host" --tag="$database" "$snapshot" | grep -E "/$database-[0-9]{8}T[0-9]{6}Z\.dump$" ||
    fail "$RESTIC_REPOSITORY has no snapshot $snapshot of $database made by $host; 'nixci-backup list' shows what exists."
}

local_file() {
  local file=$NIXCI_FOLDER/$from
  case $from in
    latest)
      file=$(find "$NIXCI_FOLDER" -maxdepth 1 -type f -name "$database-????????T??????Z.dump" 2>/dev/null | sort | tail -n 1 || :)
      [ "$file" ] || fail "$NIXCI_FOLDER has no dump of $database; --from offsite takes the newest one off the host."
      ;;
    /*) file=$from ;;
  esac
  [ -f "$file" ] || fail "There is no file $file; 'nixci-backup list' shows what exists."
  echo "$file"
}

swap() {
  local statements="ALTER DATABASE \"$new\" RENAME TO \"$database\";" said state
  state=$(state "$database")
  [ "$state" = absent ] || statements="ALTER DATABASE \"$database\" RENAME TO \"$old\"; $statements"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    sql postgres "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('$database', '$new')" >/dev/null
    if said=$(sql postgres "BEGIN; $statements COMMIT;" 2>&1); then return; fi
    sleep 1
  done
  fail "$database cannot be renamed, because something connects to it again and again: $said"
}

restore() {
  local role file snapshot="" count state
  [[ " $NIXCI_DATABASES " == *" $database "* ]] ||
    fail "$database is none of the databases that this host backs up: $NIXCI_DATABASES."
  case $from in
    offsite) snapshot=latest ;;
    offsite:*) snapshot=${from#offsite:} ;;
  esac
  if [ "$snapshot" ]; then file=$(copied_file); else file=$(local_file); fi
  role=$(sql postgres "SELECT 1 FROM pg_roles WHERE rolname = '$database'") || fail "PostgreSQL does not answer; start it first."
  [ "$role" ] || fail "PostgreSQL has no role $database, which owns the tables; 'systemctl restart nixci-postgresql' makes it."
  may_replace

  runuser -u postgres -- dropdb --if-exists --force "$new"
  runuser -u postgres -- createdb --template=template0 --owner="$database" "$new"
  read_dump | runuser -u postgres -- pg_restore --exit-on-error --single-transaction --dbname="$new" ||
    fail "The dump could not be restored; $database is as it was."
  count=$(tables "$new")
  [ "$count" -gt 0 ] || fail "The dump has no tables; $database is as it was."

  if [ "$database" = "$NIXCI_ATTIC" ]; then
    touch "$STOPPED"
    systemctl stop --no-warn atticd.service atticd-gc.service
  fi
  may_replace # somebody may have filled it meanwhile
  swap
  start_again
  say "$database is what it was in the dump."
  state=$(state "$old")
  case $state in
    empty) runuser -u postgres -- dropdb --force "$old" ;;
    filled) say "The database of before is kept as $old. Remove it with: runuser -u postgres -- dropdb $old" ;;
  esac
}

if [ "${1-}" = --start-again ]; then
  start_again
  exit
fi
arguments=("$@")
database=${1-} from=latest host=$NIXCI_HOST replace=""
[[ $database =~ ^[a-z_][a-z0-9_]*$ ]] || usage
shift
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case $1 in
    --from) from=$2 ;;
    --host) host=$2 ;;
    --replace) replace=$2 ;;
    *) usage ;;
  esac
  shift 2
done
new=${database}_restore
old=${database}_before_$(date --utc +%Y%m%dt%H%M%Sz)
[ "$(id -u)" = 0 ] || fail "Run this as root."

# In a unit of its own it ends also if the connection to this host does not last, and systemd starts again what it stopped.
if [ -z "${NIXCI_IN_UNIT-}" ]; then
  ! systemctl --quiet is-active nixci-restore.service || fail "Another restore is running: see 'systemctl status nixci-restore'."
  start_again
  self=$(readlink -f "$0")
  exec systemd-run --quiet --collect --wait --pipe --unit=nixci-restore --setenv=NIXCI_IN_UNIT=1 \
    --property="ExecStopPost=$self --start-again" -- "$self" "${arguments[@]}"
fi
trap '' PIPE
restore
