# The platform that the system is for, and the packages for it.
{ config, lib, ... }:
{
  options.nixpkgs.hostPlatform = lib.mkOption {
    type = lib.types.either lib.types.str (lib.types.attrsOf lib.types.unspecified);
    apply = platform: if builtins.isString platform then { system = platform; } else platform;
  };
  config._module.args.pkgs = import ../pkgs {
    inherit lib;
    inherit (config.nixpkgs.hostPlatform) system;
  };
}
