# How local services reach the host's PostgreSQL, whatever port and folder of sockets it has.
{ config, lib }:
let
  hba = import ./pg-hba.nix { inherit lib; };
  inherit (config.services) postgresql;
  inherit (postgresql) settings;
  blank = builtins.match "[[:space:]]*(.*[^[:space:]])[[:space:]]*";
  folders = lib.concatMap (
    entry:
    let
      found = blank entry;
    in
    lib.optional (found != null) (lib.head found)
  ) (lib.splitString "," (settings.unix_socket_directories or "/run/postgresql"));
  # Sandboxed services have their own /tmp and no /home; `@' is no file.
  hidden = [
    "/tmp"
    "/var/tmp"
    "/home"
    "/root"
    "/run/user"
  ];
  usable =
    folder:
    lib.hasPrefix "/" folder && !lib.any (top: folder == top || lib.hasPrefix "${top}/" folder) hidden;
  found = lib.filter usable folders;
in
rec {
  reachable = found != [ ];
  socket = if reachable then lib.head found else "/run/postgresql";
  inherit (settings) port;

  # Whether pg_hba.conf refuses `who' for certain. A file that is not made of NixOS' options is not known here.
  refuses =
    who:
    lib.hasPrefix builtins.storeDir (settings.hba_file or "") && hba.admits postgresql who == false;

  environment = {
    PGHOST = socket;
    PGPORT = toString port;
  };
  # `localhost' is only text: `host' overrides it, and NixOS looks for it to order units.
  url =
    user: database:
    "postgresql://${user}@localhost${lib.optionalString (port != 5432) ":${toString port}"}/${database}?host=${socket}";
}
