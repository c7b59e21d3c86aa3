# Nightly dumps. NixOS keeps the newest two; here each also stays under its date for some days.
{ config, lib, ... }:
let
  t = import ./types.nix { inherit lib; };
  cfg = config.nixci.backup;

  perDatabase =
    f:
    lib.listToAttrs (
      map (name: lib.nameValuePair "postgresqlBackup-${name}" (f name)) cfg.databases
    );

  # Runs after a successful dump only, so a broken backup never removes good ones. The dated name
  # is a hard link: no second copy, and the mode (0600) of the dump. Name and path are safe by type.
  keep = name: ''
    cd ${cfg.location}
    ln ${name}.sql.zstd ${name}-$(date --utc +%Y%m%dT%H%M%SZ).sql.zstd
    find . -maxdepth 1 -name '${name}-*.sql.zstd' -mmin +${toString (cfg.keepDays * 24 * 60)} -delete
  '';
in
{
  options.nixci.backup = t.role {
    databases = t.optionOr [ "atticd" ] (t.nonEmptyListOf t.databaseName) "Databases to dump.";
    startAt = t.optionOr "*-*-* 02:30:00" t.calendar "When.";
    location = t.optionOr "/var/backup/postgresql" t.path "Folder of the dumps, for user postgres only.";
    keepDays = t.optionOr 30 t.ints.positive "Days that a dated dump stays.";
  };

  config = lib.mkIf (cfg != null) {
    services.postgresqlBackup = {
      enable = true;
      inherit (cfg) databases startAt location;
      compression = "zstd";
    };

    systemd.services = perDatabase (name: {
      # NixOS only says `requires'.
      after = [
        "postgresql.service"
        "postgresql.target"
      ];
      postStart = keep name;
      restartIfChanged = false;
    });

    systemd.timers = perDatabase (_name: { timerConfig.Persistent = true; });
  };
}
