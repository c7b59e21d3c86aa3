# What modules know as `pkgs`: builders that run Debian's shell, and Debian's programs under nixpkgs' names.
{ lib, system }:
let
  builders = import ./builders.nix { inherit lib system; };
  inherit (builders) debian machine;
in
builders
// rec {
  inherit lib system;
  stdenv.hostPlatform = {
    inherit system;
    isLinux = true;
  };
  formats = import ./formats.nix { inherit lib; pkgs = builders; };

  bash = debian "bash" [ "bash" ] { };
  coreutils = debian "coreutils" [ "coreutils" ] { };
  curl = debian "curl" [ "curl" ] { };
  diffutils = debian "diffutils" [ "diffutils" ] { };
  findutils = debian "findutils" [ "findutils" ] { mainProgram = "find"; };
  git = debian "git" [ "git" ] { };
  gnugrep = debian "gnugrep" [ "grep" ] { mainProgram = "grep"; };
  gnused = debian "gnused" [ "sed" ] { mainProgram = "sed"; };
  gnutar = debian "gnutar" [ "tar" ] { mainProgram = "tar"; };
  gzip = debian "gzip" [ "gzip" ] { };
  # Debian makes the plain names by update-alternatives, so its package does not list them
  iptables = machine "iptables" "/usr/sbin" [ "iptables" "ip6tables" "iptables-save" ] { };
  jq = debian "jq" [ "jq" ] { };
  nix = debian "nix" [ "nix-bin" ] { };
  openssh = debian "openssh" [
    "openssh-server"
    "openssh-client"
  ] { mainProgram = "ssh"; };
  openssl = debian "openssl" [ "openssl" ] { };
  python3 = debian "python3" [ "python3-minimal" ] { } // {
    # Debian has one Python with everything that is installed.
    withPackages = choose: debian "python3" ([ "python3-minimal" ] ++ choose { psycopg2 = "python3-psycopg2"; }) { };
  };
  systemd = debian "systemd" [ "systemd" ] { mainProgram = "systemctl"; };
  util-linux = debian "util-linux" [ "util-linux" ] { };
  zstd = debian "zstd" [ "zstd" ] { };
  restic = debian "restic" [ "restic" ] { };
  caddy = debian "caddy" [ "caddy" ] { };
  postgresql_17 = machine "postgresql" "/usr/lib/postgresql/17/bin" [ ] { mainProgram = "psql"; } // {
    psqlSchema = "17";
    version = "17";
  };
  postgresql = postgresql_17;
  attic-server = machine "attic-server" "/usr/local/bin" [ "atticd" "atticadm" ] { mainProgram = "atticd"; };
  attic-client = machine "attic-client" "/usr/local/bin" [ "attic" ] { mainProgram = "attic"; };
  nixos-rebuild = machine "nixos-rebuild" "/usr/local/bin" [ "nixos-rebuild" "nixos-version" ] { };
  # As on NixOS, the name of the store path has the version; an older one behaves as it did.
  opnixOf =
    version: machine "opnix-${version}" "/usr/local/bin" [ "opnix" ] { mainProgram = "opnix"; } // { inherit version; };
  opnix = opnixOf "0.11.0";
}
