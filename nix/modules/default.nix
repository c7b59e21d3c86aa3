# Import this folder from configuration.nix or a flake's `modules`. It does nothing until
# settings exist beside it: ../settings/<role>.json turns the role of that name on.
{
  imports = [
    ./settings.nix
    ./checks.nix
    ./nixos.nix
    ./bootstrap.nix
    ./opnix.nix
    ./postgresql.nix
    ./attic.nix
    ./caddy.nix
    ./backup.nix
    ./ports.nix
  ];
}
