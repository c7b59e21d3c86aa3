lib: rec {
  getExe = package: getExe' package (package.meta.mainProgram or (lib.getName package));
  setPrio = priority: package: package // { meta = package.meta or { } // { inherit priority; }; };
  getExe' = package: program: "${package}/bin/${program}";
}
