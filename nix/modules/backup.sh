#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# nixci-backup: makes dumps, copies them off the host, and shows what exists. backup.nix sets the NIXCI_* variables.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  echo "Usage: nixci-backup now      make a dump of each database, and copy it off the host if that is configured
       nixci-backup list     show the dumps on this host and off it
       nixci-backup offsite  copy the newest dumps off the host, read them back, and remove old ones there
       nixci-backup restic   run restic with the repository and its password" >&2
  exit 64
}

fail() {
  echo "$1" >&2
  exit 1
}

# Only restic gets the secrets, and only in its environment.
restic() (
  [ "$NIXCI_OFFSITE" ] || fail "This host has no backups off the host; set backup_offsite: true and run site.yml."
  [ -r "$NIXCI_OFFSITE" ] || fail "$NIXCI_OFFSITE is missing, so restic has no password; see 'systemctl status opnix-secrets'."
  set -a
  # shellcheck source=/dev/null
  . "$NIXCI_OFFSITE"
  exec "$(type -P restic)" --retry-lock=10m "$@"
)

dumps() { # DATABASE [TESTS OF find]
  [ -d "$NIXCI_FOLDER" ] || return 0
  find "$NIXCI_FOLDER" -maxdepth 1 -type f -name "$1-????????T??????Z.dump" "${@:2}"
}

young() { # the newest dump of a database, if it is younger than 25 hours
  dumps "$1" -mmin -1500 | sort | tail -n 1
}

start() {
  systemctl start "$1" || {
    journalctl --unit="$1" --lines=20 --output=cat --no-pager >&2
    fail "$1 failed; its journal is above."
  }
}

now() {
  for database in $NIXCI_DATABASES; do start "nixci-backup-$database.service"; done
  [ -z "$NIXCI_OFFSITE" ] || start nixci-offsite.service
}

list() {
  for database in $NIXCI_DATABASES; do
    echo "$database on this host, in $NIXCI_FOLDER:"
    dumps "$database" -printf '  %f  %s bytes\n' | sort
    if [ "$NIXCI_OFFSITE" ]; then
      echo "$database off the host, in $RESTIC_REPOSITORY:"
      restic snapshots --quiet --tag="$database" | sed 's/^/  /'
    fi
  done
}

# Refuses to make a repository where one exists that this password does not open.
open_repository() {
  local found made
  found=$(restic cat config 2>&1) && return
  made=$(restic init 2>&1) || fail "$(printf '%s\n' "$RESTIC_REPOSITORY cannot be opened:" "$found" "and not be made:" "$made")"
}

offsite() {
  open_repository
  # A run that was killed leaves its lock; those of processes that run stay.
  restic unlock --quiet
  for database in $NIXCI_DATABASES; do
    local dump
    dump=$(young "$database")
    if [ -z "$dump" ]; then
      start "nixci-backup-$database.service"
      dump=$(young "$database")
      [ "$dump" ] || fail "There is no new dump of $database in $NIXCI_FOLDER, although nixci-backup-$database.service ran."
    fi
    restic backup --quiet --host="$NIXCI_HOST" --tag="$database" "$dump"
    restic dump --quiet --host="$NIXCI_HOST" --tag="$database" latest "$dump" | cmp --silent - "$dump" ||
      fail "What $RESTIC_REPOSITORY returns for $dump is not what is on this host."
    echo "${dump##*/}" >"$STATE_DIRECTORY/.$database.partial"
    mv "$STATE_DIRECTORY/.$database.partial" "$STATE_DIRECTORY/$database.offsite"
    # Counted back from the newest one, which therefore always stays.
    restic forget --quiet --host="$NIXCI_HOST" --tag="$database" --group-by=host,tags --keep-within="${NIXCI_KEEP_DAYS}d"
  done
  restic prune --quiet
  restic check --quiet
}

command=${1-}
case $command in
  now | list | offsite) "$command" ;;
  restic) restic "${@:2}" ;;
  *) usage ;;
esac
