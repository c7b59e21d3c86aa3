#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What says whether a deployment has anything to do, as lines KEY=VALUE, and the manifest of the running system after them.
# Argument: the system to deploy.
say() { printf '%s=%s\n' "$1" "$2"; }
current=/run/current-system profile=/nix/var/nix/profiles/system lock=/run/nixci/lock

say uid "$(id -u)"
say given "$(readlink -f "$1")"
for one in system:$current profile:$profile booted:/run/booted-system; do
  [ -e "${one#*:}" ] && say "${one%%:*}" "$(readlink -f "${one#*:}")"
done
[ -x $current/bin/switch-to-configuration ] && say complete yes
say generation "$(readlink $profile)"
say boot_id "$(cat /proc/sys/kernel/random/boot_id)"
say host_name "$(cat $current/etc/hostname 2>/dev/null || uname -n)"
say time "$(date +%s)"
# Whatever of these is there needs more than a glance.
[ -s /run/nixci/unfinished-activation ] && say busy 'an interrupted activation'
[ -e /var/lib/nixci/deployment ] && say busy 'a deployment'
if [ -e $lock ]; then flock --shared --nonblock $lock true || say busy 'another run'; fi
say manifest ''
cat $current/etc/nixci/manifest.json 2>/dev/null
exit 0
