{ config, lib, pkgs, ... }:
let
  inherit (lib) types;
  atom = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
    types.path
    types.package
  ];
  show = v: if builtins.isBool v then lib.boolToString v else toString v;
  list =
    default:
    lib.mkOption {
      type = types.listOf types.str;
      inherit default;
    };
in
{
  options.nix = {
    package = lib.mkOption {
      type = types.package;
      default = pkgs.nix;
    };
    enable = lib.mkOption {
      type = types.bool;
      default = true;
    };
    settings = lib.mkOption {
      default = { };
      type = types.submodule {
        freeformType = types.attrsOf (types.either atom (types.listOf atom));
        options = {
          # NixOS adds its public cache here; the lab has no network
          substituters = list [ ];
          trusted-public-keys = list [ ];
          trusted-users = list [ "root" ];
          experimental-features = list [
            "nix-command"
            "flakes"
          ];
          sandbox = lib.mkOption {
            type = types.either types.bool (types.enum [ "relaxed" ]);
            default = false;
          };
        };
      };
    };
    extraOptions = lib.mkOption {
      type = types.lines;
      default = "";
    };
  };
  config.environment.etc."nix/nix.conf".text =
    "# from nix.settings\n"
    + lib.concatLines (lib.mapAttrsToList (name: value: "${name} = ${show value}") config.nix.settings)
    + config.nix.extraOptions;
}
