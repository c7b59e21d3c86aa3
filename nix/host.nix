# The same text for each host of a flake. Import this folder once, in the host's own modules: ./nixci/hosts/<name>
import ../../modules/with-settings.nix ./settings
