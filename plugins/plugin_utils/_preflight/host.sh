#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# What the preflight asks a host that may have no Python, as lines KEY=VALUE.
# Arguments: folder of the configuration, the interpreter that the inventory sets or nothing, 'fetch' or nothing,
# then paths that must survive a reboot, '--', and systemd calendar expressions.
config=$1 interpreter=$2 fetch=$3
shift 3
say() { printf '%s=%s\n' "$1" "$2"; }
current=/run/current-system

say uid "$(id -u)"
say user "$(id -un)"
say name "$(uname -n)"
os() { sed -n "s/^$1=\"\{0,1\}\([^\"]*\).*/\1/p" /etc/os-release 2>/dev/null; }
# Its installer is NixOS as well, and in memory.
[ -x $current/bin/switch-to-configuration ] && [ "$(os VARIANT_ID)" != installer ] && say nixos yes
say release "$(cat $current/nixos-version 2>/dev/null)"
say os "$(os ID) $(os VERSION_ID)"
say system "$(os PRETTY_NAME)"

# What nixos-anywhere needs.
say architecture "$(uname -m)"
say memory "$(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo 2>/dev/null)"
for one in tar cpio setsid; do
  command -v $one >/dev/null || say lacks $one
done

# Python: for modules, 3.9 is the oldest that ansible-core supports on hosts.
works() { [ -n "$1" ] && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1; }
python=''
path=$(command -v python3)
for one in "$interpreter" "$path" $current/sw/bin/python3 /nix/var/nix/profiles/default/bin/python3 /run/nixci/python/bin/python3 \
  /nix/store/*-python3-3.*/bin/python3; do
  if works "$one"; then
    python=$one
    break
  fi
done
if [ -z "$python" ] && [ "$fetch" = fetch ] && [ "$(id -u)" = 0 ] && command -v nix-build >/dev/null; then
  mkdir -p /run/nixci
  # The link keeps it from being collected until the next boot.
  { timeout 300 nix-build --quiet --out-link /run/nixci/python '<nixpkgs>' -A python3 ||
    timeout 300 nix --extra-experimental-features 'nix-command flakes' build --out-link /run/nixci/python nixpkgs#python3; } >/dev/null 2>&1
  works /run/nixci/python/bin/python3 && python=/run/nixci/python/bin/python3
fi
say python "$python"
[ -n "$python" ] && [ "$python" = "$path" ] && say python_in_path yes

# OpNix: the script of its unit names the package that it runs.
if command -v systemctl >/dev/null; then
  for script in $(systemctl show --property=ExecStart --value opnix-secrets.service 2>/dev/null | grep -o '/nix/store/[^ ;]*' | sort -u); do
    version=$( (echo "$script"; head -c 100000 "$script" 2>/dev/null) | grep -aoE -- '-opnix-[0-9]+(\.[0-9]+)+' | head -n 1)
    [ -n "$version" ] && say opnix "${version#-opnix-}"
  done
fi

# The configuration: whether there is one, whether a file of it mentions our modules, and whether one mentions the host's name.
for one in configuration.nix flake.nix; do
  [ -e "$config/$one" ] && say configuration "$one"
done
if [ -d "$config" ]; then
  own() { find -L "$config" \( -name .git -o -name result -o -name 'result-*' \) -prune -o -path "$config/nixci" -prune -o -name '*.nix' -type f -exec grep -l "$@" {} + 2>/dev/null; }
  own -E -- '^[^#]*nixci/(modules|hosts)' | head -n 1 | while read -r one; do say imported "$one"; done
  own -E -- 'readDir|import-tree|listFilesRecursive|haumea|flakelight' | head -n 1 | while read -r one; do say computed "$one"; done
  own -F -- "\"$(uname -n)\"" | head -n 1 | while read -r one; do say named "$one"; done
fi
[ -d "$config/nixci/settings" ] && say settings yes
[ -e /etc/nixci/manifest.json ] && say manifest yes

# A root that a reboot empties.
kind() { stat -f -c %T "$1" 2>/dev/null; }
say root "$(kind /)"
for one in /persist /persistent /nix/persist /nix/persistent; do
  [ -d "$one" ] && say persistence "$one"
done
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  place=$1
  while [ ! -e "$place" ] && [ "$place" != / ]; do place=$(dirname "$place"); done
  case $(kind "$place") in
    tmpfs | ramfs) say volatile "$1" ;;
    *) [ "$(stat -L -c %d "$place")" = "$(stat -c %d /)" ] && say on_root "$1" ;;
  esac
  shift
done
[ $# -gt 0 ] && shift
for one in "$@"; do
  command -v systemd-analyze >/dev/null || break
  systemd-analyze calendar "$one" >/dev/null 2>&1 || say calendar "$one"
done
say complete yes
