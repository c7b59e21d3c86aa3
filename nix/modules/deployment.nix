# What takes back a deployment that nobody confirmed (pantheros.nixci.nixos_rebuild). After a boot into a system that waits for
# its confirmation, the revert is armed anew; what the restart has interrupted is finished and recorded.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  # Of this file's text alone: its path in a flake differs from commit to commit.
  revert = pkgs.writeShellScriptBin "nixci-revert" (builtins.readFile ./revert.sh);
in
{
  config = lib.mkIf (config.nixci.nixos != null) {
    environment.systemPackages = [ revert ];

    systemd.services.nixci-boot-confirm = {
      description = "Finish or supervise the deployment that this boot belongs to";
      wantedBy = [ "multi-user.target" ];
      after = [ "local-fs.target" ];
      unitConfig.ConditionPathExists = "/var/lib/nixci/deployment";
      # An activation is no boot.
      restartIfChanged = false;
      path = [
        config.nix.package
        pkgs.util-linux
        config.systemd.package
      ];
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
        ExecStart = "${pkgs.runtimeShell} ${revert}/bin/nixci-revert --after-boot";
      };
    };
  };
}
