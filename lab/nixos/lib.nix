# nixpkgs' own lib if <nixpkgs> can be found, which a flake forbids; else ours.
let
  found = builtins.tryEval <nixpkgs/lib>;
in
import (if found.success then found.value else ./lib)
