lib: rec {
  getExe = package: getExe' package (package.meta.mainProgram or (lib.getName package));
  getExe' = package: program: "${package}/bin/${program}";
}
