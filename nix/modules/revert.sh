#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Goes back to the system that ran before a deployment which nobody confirmed. It needs the store, systemd and the programs
# of the system, and neither the network nor the controller.
#
#   nixci-revert ID REASON       take back deployment ID, if it is still unconfirmed
#   nixci-revert --after-boot    finish what a restart of the host has interrupted
#   nixci-revert --arm ID SECS   take back deployment ID in SECS seconds, instead of at the time set before
#
# /var/lib/nixci/deployment says what is unconfirmed. Whoever confirms or takes back holds /run/nixci/deployment.lock all the
# time, so only one of them finds it. Each step can be repeated: what is interrupted here is done again by the next call.
# What happened is in the journal, in /var/log/nixci/revert.log, and, as one line of JSON, in /var/log/nixci/deployments.jsonl.
set -u
umask 022

profile=/nix/var/nix/profiles/system
current=/run/current-system
roots=/nix/var/nix/gcroots/nixci
state=/var/lib/nixci
run=/run/nixci
logs=/var/log/nixci
boot=/proc/sys/kernel/random/boot_id
pending=$state/deployment

# Statuses of switch-to-configuration.
script_failed=2 units_failed=4 locked=11

say() {
  echo "$*"
  echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $*" >>"$logs/revert.log"
}

load() {
  id='' system='' previous='' previous_generation='' action='' phase='' boot_id='' confirm_timeout='' permanent='' why='' members=''
  [ -e "$pending" ] || return 1
  while IFS='=' read -r key value; do
    case $key in
      id) id=$value ;;
      system) system=$value ;;
      previous) previous=$value ;;
      previous_generation) previous_generation=$value ;;
      action) action=$value ;;
      phase) phase=$value ;;
      boot_id) boot_id=$value ;;
      confirm_timeout) confirm_timeout=$value ;;
      permanent) permanent=$value ;;
      reason) why=$value ;;
      members) members=$value ;; # of the record, as JSON
    esac
  done <"$pending"
  PATH=$previous/sw/bin:/run/current-system/sw/bin:$PATH
}

# put KEY VALUE
put() {
  while IFS= read -r line; do
    case $line in
      "$1="*) printf '%s=%s\n' "$1" "$2" ;;
      *) printf '%s\n' "$line" ;;
    esac
  done <"$pending" >"$pending.new" && sync "$pending.new" && mv "$pending.new" "$pending"
}

running() { readlink -f "$current"; }

generation() {
  name=$(readlink "$profile") || return 0
  name=${name##*system-}
  echo "${name%-link}"
}

arm() { # ID SECS
  systemctl stop nixci-revert.timer 2>/dev/null
  systemctl reset-failed nixci-revert.timer nixci-revert.service 2>/dev/null
  # Seconds that pass, whatever happens to the clock.
  systemd-run --quiet --no-ask-password --unit=nixci-revert --on-active="$2" --timer-property=AccuracySec=1s \
    --description="Take back deployment $1" --setenv=PATH="$PATH" -- \
    "$(command -v sh || echo /bin/sh)" "$(readlink -f "$0")" "$1" "not confirmed in time"
}

# The activation may hang, or be under way because nobody was there to stop it.
stop_activation() {
  systemctl is-active --quiet nixci-activation.service || return 0
  say "stopping the activation, which is still running"
  timeout 30 systemctl stop nixci-activation.service || systemctl kill --signal=KILL nixci-activation.service
}

# NIXOS_NO_CHECK: what may not be replaced in a running system was replaced already; going back beats being stuck.
activate_previous() {
  tries=0 waited=0
  while :; do
    NIXOS_NO_CHECK=1 timeout --kill-after=10 900 "$previous/bin/switch-to-configuration" test >>"$logs/revert.log" 2>&1
    status=$?
    case $status in
      0) return 0 ;;
      "$script_failed" | "$units_failed") [ "$(running)" = "$previous" ] && return 0 ;;
      "$locked") waited=$((waited + 1)) && [ $waited -lt 120 ] && sleep 1 && continue ;;
    esac
    tries=$((tries + 1))
    say "activating $previous ended with status $status"
    [ $tries -lt 3 ] || return 1
    sleep 1
  done
}

# Only if the deployment had begun to change what boots.
restore_boot() {
  [ "$permanent" = yes ] && [ -n "$previous_generation" ] || return 0
  now=$(generation)
  if [ "$now" != "$previous_generation" ]; then
    say "setting the profile back from generation $now to $previous_generation"
    nix-env --profile "$profile" --switch-generation "$previous_generation" || say "the profile cannot be set back"
    if [ "$now" -gt "$previous_generation" ] && [ "$(readlink -f "$profile-$now-link")" = "$system" ] &&
      [ ! -e "$roots/confirmed-$now" ]; then
      nix-env --profile "$profile" --delete-generations "$now"
    fi
  fi
  waited=0
  while :; do
    NIXOS_NO_CHECK=1 timeout --kill-after=10 600 "$profile/bin/switch-to-configuration" boot >>"$logs/revert.log" 2>&1
    status=$?
    waited=$((waited + 1))
    if [ "$status" != "$locked" ] || [ "$waited" -gt 120 ]; then break; fi
    sleep 1
  done
  [ "$status" = 0 ] || say "the boot loader cannot be set back (status $status)"
}

# The reason stands first; a system that was only not confirmed is counted, because it may be innocent.
remember() {
  mkdir -p "$state/failed"
  file=$state/failed/${system##*/}
  count=''
  case $why in
    "not confirmed"*)
      count=0
      [ -e "$file" ] && { read -r _reason && read -r _time && read -r _word count; } <"$file"
      count=$((${count:-0} + 1))
      ;;
  esac
  # A full disk must not leave a part of it.
  {
    printf '%s\n%s\n' "$why" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" && { [ -z "$count" ] || printf 'unconfirmed %s\n' "$count"; }
  } >"$file.new" && mv "$file.new" "$file"
  rm -f "$file.new"
}

# finish RESULT [GENERATION]
finish() {
  case $1 in reverted | failed) remember ;; esac
  text=$(printf '%s' "$why" | tr '\n\t\r"' "   '" | tr '\134' / | tr -d '\000-\037')
  case $(tail -n 1 "$logs/deployments.jsonl" 2>/dev/null) in
    *"\"id\": \"$id\""*) ;; # recorded, and then interrupted
    *)
      printf '{"time": "%s", "result": "%s", "reason": "%s", "to_generation": %s, %s}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$1" "$text" "${2:-null}" "$members" >>"$logs/deployments.jsonl"
      sync "$logs/deployments.jsonl"
      ;;
  esac
  rm -f "$run/unfinished-activation" "$roots/pending" "$roots/previous" "$pending"
  systemctl stop --no-block nixci-revert.timer 2>/dev/null
  say "deployment $id is finished: $1"
}

take_back() { # REASON
  why=$(printf '%s' "$1" | tr '\n' ' ')
  put phase reverting
  put reason "$why"
  say "taking back deployment $id of $system: $why"
  if [ "$action" = boot ]; then
    restore_boot
    runs=$(running)
    finish reverted
    if [ "$runs" = "$system" ] && [ "$system" != "$previous" ]; then
      say "rebooting into $previous"
      systemctl reboot
    fi
    return 0
  fi
  stop_activation
  activate_previous
  activated=$?
  restore_boot
  if [ $activated -ne 0 ] && [ "$(running)" != "$previous" ]; then
    # What boots is the previous system; after the boot, this deployment is found and finished.
    say "going back without a reboot failed, so the host reboots into $previous"
    systemctl reboot
    return 1
  fi
  [ $activated -eq 0 ] || why="$why; going back to $previous ended with errors, see $logs/revert.log"
  finish reverted
}

after_boot() {
  [ "$boot_id" != "$(cat "$boot")" ] && [ "$phase" != confirmed ] || return 0
  if [ "$action" = boot ] && [ "$(running)" = "$system" ] && [ "$phase" != reverting ]; then
    put boot_id "$(cat "$boot")"
    put phase activated
    say "the host has booted deployment $id, which must be confirmed within $confirm_timeout s"
    arm "$id" "$confirm_timeout"
  elif [ "$action" = boot ] && [ "$(running)" = "$system" ]; then
    take_back "$why"
  elif [ "$action" = boot ] && [ "$phase" = activated ]; then
    why="the host booted $(running) instead of it"
    restore_boot
    finish reverted
  elif [ "$phase" = reverting ]; then
    restore_boot
    finish reverted
  elif [ "$(running)" = "$system" ] && [ "$permanent" = yes ]; then
    # It was verified, and what boots had been changed already.
    ln -sfn "$system" "$roots/confirmed-$(generation)"
    rm -f "$state/failed/${system##*/}"
    why="the host restarted during the confirmation"
    finish confirmed "$(generation)"
  else
    why="the host restarted before the deployment was confirmed"
    restore_boot
    finish interrupted
  fi
}

mkdir -p "$run" "$logs" "$state" "$roots"
case ${1-}:$# in
  --arm:3)
    load && [ "$id" = "$2" ] || exit 0
    arm "$2" "$3"
    ;;
  --after-boot:1)
    # The unit that calls this may be started by an activation, which whoever has the lock may wait for.
    load && [ "$boot_id" != "$(cat "$boot")" ] || exit 0
    exec 9>"$run/deployment.lock" && flock 9
    load || exit 0
    after_boot
    ;;
  [!-]*:2)
    exec 9>"$run/deployment.lock" && flock 9
    # The confirmation came first, or this was done before.
    load && [ "$id" = "$1" ] && [ "$phase" != confirmed ] || exit 0
    take_back "$2"
    ;;
  *)
    echo "usage: nixci-revert ID REASON | --after-boot | --arm ID SECS" >&2
    exit 64
    ;;
esac
