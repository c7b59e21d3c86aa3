# PostgreSQL with databases that each belong to a role of the same name. Local services log in
# over the socket by peer authentication, so there are no passwords.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.postgresql;
in
{
  options.nixci.postgresql = t.role {
    databases = t.optionOr [ "atticd" ] (t.listOf t.databaseName) "Databases and their owners.";
  };

  config = lib.mkIf (cfg != null) {
    services.postgresql = {
      enable = true;
      ensureDatabases = cfg.databases;
      ensureUsers = map (name: {
        inherit name;
        ensureDBOwnership = true;
      }) cfg.databases;
    };
  };
}
