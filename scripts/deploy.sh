#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Deploys to NixOS hosts with the playbooks of this collection, and prints the commands that it runs.
set -u

usage() {
  cat <<'TEXT'
Usage: deploy.sh HOST [OPTION]... [-- ARGUMENT...]

Deploys to HOST: a host or group of the inventory, or a pattern of Ansible's such as 'web:db'. 'all' is every host of the group nixos.

  --dry-run         show what a deployment would change; nothing on the host changes
  --plan FILE       write what a deployment would do to FILE; the system is built and copied
  --apply FILE      deploy exactly what FILE says; refused if the host has moved since
  --rollback        go back to the system that ran before
  --to N            with --rollback: go back to generation N
  --list            list the generations and the last deployments
  --boot            reboot into the new system instead of activating it
  --store-path PATH deploy this system instead of building one
  -i INVENTORY      the inventory, as ansible-playbook takes it; may be given several times
  -h, --help        show this text

ARGUMENTs go to ansible-playbook, for instance -- --ask-become-pass -e deploy_confirm_timeout=300

Environment: ANSIBLE_PLAYBOOK, the program ansible-playbook. By default that of this checkout's .venv, or the one in PATH.

Exit status:
  0  every host runs the system that it was to run, or the preview, plan or list is complete
  1  wrong arguments, or the inventory has no such host
  2  a host was refused, failed, went back or cannot be reached; the reason is in the output
  4  ansible-playbook could not run: it is missing, or the inventory or a variable is wrong
  128 and more  ended by a signal; an unconfirmed host goes back by itself
TEXT
}

wrong() {
  echo "deploy.sh: $1 (deploy.sh --help lists the options)" >&2
  exit 1
}

# An argument as a shell would take it, so that the printed command can be copied.
quoted() {
  case $1 in
    '' | *[!A-Za-z0-9_./:=,@%+-]*) printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf %s "$1" ;;
  esac
}

# A path that stays right wherever the program that reads it runs.
absolute() {
  case $1 in
    /*) printf %s "$1" ;;
    *) printf %s "$PWD/$1" ;;
  esac
}

# A variable with a text of any form, as JSON.
variable() {
  printf '{"%s": "%s"}' "$1" "$(printf %s "$2" | sed 's/[\\"]/\\&/g')"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd) || exit 4
host='' playbook=deploy.yml mode='' store_path='' generation=''
# The options of ansible-playbook are collected behind the arguments that are still to be read.
count=$#
while [ "$count" -gt 0 ]; do
  argument=$1
  shift
  count=$((count - 1))
  case $argument in
    --plan | --apply | --to | --store-path | -i | --inventory)
      [ "$count" -gt 0 ] || wrong "$argument needs a value"
      value=$1
      shift
      count=$((count - 1))
      ;;
  esac
  case $argument in
    -h | --help)
      usage
      exit 0
      ;;
    --dry-run | --plan | --apply | --rollback | --list)
      [ -z "$mode" ] || wrong "$mode and $argument exclude each other"
      mode=$argument
      ;;
  esac
  case $argument in
    --dry-run) set -- "$@" --check --diff ;;
    --plan) set -- "$@" -e deploy_action=plan -e "$(variable deploy_plan "$(absolute "$value")")" ;;
    --apply)
      [ -r "$value" ] || wrong "the plan $value cannot be read"
      set -- "$@" -e "$(variable deploy_plan "$(absolute "$value")")"
      ;;
    --rollback) playbook=rollback.yml ;;
    --list) playbook=operate/history.yml ;;
    --to)
      generation=$value
      case $value in '' | *[!0-9]*) wrong "--to needs the number of a generation, not '$value'" ;; esac
      set -- "$@" -e "rollback_to=$value"
      ;;
    --boot) set -- "$@" -e deploy_action=boot ;;
    --store-path)
      store_path=$value
      set -- "$@" -e "$(variable deploy_store_path "$value")"
      ;;
    -i | --inventory)
      case $value in *,) set -- "$@" -i "$value" ;; *)
        [ -e "$value" ] || wrong "the inventory $value does not exist"
        set -- "$@" -i "$(absolute "$value")"
        ;;
      esac
      ;;
    --)
      while [ "$count" -gt 0 ]; do
        set -- "$@" "$1"
        shift
        count=$((count - 1))
      done
      ;;
    -*) wrong "there is no option $argument" ;;
    *)
      [ -z "$host" ] || wrong "one HOST only, not '$host' and '$argument'; a pattern such as '$host:$argument' names several"
      host=$argument
      ;;
  esac
done
[ -n "$host" ] || wrong 'name a HOST'
[ -z "$generation" ] || [ "$mode" = --rollback ] || wrong '--to needs --rollback'
[ -z "$store_path" ] || case $mode in --apply | --rollback | --list) wrong "--store-path and $mode exclude each other" ;; esac

program=${ANSIBLE_PLAYBOOK:-}
if [ -z "$program" ]; then
  program=ansible-playbook
  [ ! -x "$here/.venv/bin/ansible-playbook" ] || program=$here/.venv/bin/ansible-playbook
fi
if ! command -v "$program" >/dev/null; then
  echo "deploy.sh: $program was not found; install ansible-core 2.19 or newer, or set ANSIBLE_PLAYBOOK." >&2
  exit 4
fi

# Relative paths in ansible.cfg are relative to that file. An own configuration comes first, as for ansible-playbook.
if [ -z "${ANSIBLE_CONFIG:-}" ] && [ ! -e ansible.cfg ] && [ ! -e "$HOME/.ansible.cfg" ] && [ -e "$here/ansible.cfg" ]; then
  ANSIBLE_CONFIG=$here/ansible.cfg
  export ANSIBLE_CONFIG
  printf '+ export ANSIBLE_CONFIG=%s\n' "$(quoted "$ANSIBLE_CONFIG")"
fi

[ "$host" = all ] || set -- "$@" --limit "$host"
set -- "$program" "$here/playbooks/$playbook" "$@"
printf '+'
for argument in "$@"; do
  printf ' %s' "$(quoted "$argument")"
done
echo
"$@"
status=$?
# ansible-playbook ends with 99 after Ctrl-C, and with 3 or 4 for unreachable hosts, too; the playbooks make those a failure.
case $status in
  0 | 1 | 2) exit "$status" ;;
  3) exit 2 ;;
  99) exit 130 ;;
esac
[ "$status" -ge 128 ] && [ "$status" -lt 200 ] && exit "$status"
exit 4
