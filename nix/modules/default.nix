# For a configuration that lives on its host: import this folder from configuration.nix or a flake's `modules`, and the
# settings are in ../settings. With several hosts in one flake, each has its own; see with-settings.nix.
import ./with-settings.nix ../settings
