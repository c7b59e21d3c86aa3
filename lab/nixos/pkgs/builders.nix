# Real derivations, built by /bin/sh with the machine's own tools.
{ lib, system }:
let
  derive =
    name: attrs: script:
    derivation (
      {
        inherit name system;
        builder = "/bin/sh";
        args = [
          "-euc"
          ". \"$scriptPath\""
        ];
        PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
        preferLocalBuild = true;
        allowSubstitutes = false;
      }
      // attrs
      // {
        inherit script;
        passAsFile = [ "script" ] ++ attrs.passAsFile or [ ];
      }
    );
  described =
    package: meta: package // { meta = { mainProgram = package.name; } // meta; };
  bash = debian "bash" [ "bash" ] { };

  # The programs of Debian packages, under a package name of nixpkgs.
  debian =
    name: packages: meta:
    described (derive name { inherit packages; } ''
      mkdir -p "$out/bin"
      for package in $packages; do
        dpkg-query -L "$package" >/dev/null 2>&1 || { echo "the lab's machine lacks Debian's package $package" >&2; exit 1; }
        dpkg-query -L "$package" | grep -E '^(/usr)?/s?bin/[^/]+$' | while read -r program; do
          ln -sf "$program" "$out/bin/"
        done
      done
    '') meta;

  # Programs in one directory of the machine: those named (the first must exist), or all of them.
  machine =
    name: directory: programs: meta:
    described (derive name { inherit directory programs; } ''
      mkdir -p "$out/bin"
      for program in ''${programs:-$(ls "$directory")}; do
        [ ! -x "$directory/$program" ] || ln -s "$directory/$program" "$out/bin/"
      done
      first=''${programs%% *}
      [ -z "$first" ] || [ -e "$out/bin/$first" ] || { echo "the lab's machine has no $directory/$first" >&2; exit 1; }
    '') meta;

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      destination ? "",
      checkPhase ? "",
      meta ? { },
      ...
    }:
    described (derive name
      {
        inherit text destination checkPhase;
        mode = if executable then "0555" else "0444";
        passAsFile = [ "text" ];
      }
      ''
        target=$out$destination
        mkdir -p "$(dirname "$target")"
        install -m "$mode" "$textPath" "$target"
        eval "$checkPhase"
      ''
    ) meta;
  shell = text: "#!${bash}/bin/bash\n${text}\n";
in
rec {
  inherit bash debian machine writeTextFile;
  runtimeShell = "${bash}/bin/bash";
  runCommand = derive;
  runCommandLocal = derive;
  writeText = name: text: writeTextFile { inherit name text; };
  writeShellScript =
    name: text:
    writeTextFile {
      inherit name;
      text = shell text;
      executable = true;
    };
  writeScriptBin =
    name: text:
    writeTextFile {
      inherit name text;
      destination = "/bin/${name}";
      executable = true;
    };
  writeShellScriptBin =
    name: text:
    writeTextFile {
      inherit name;
      text = shell text;
      executable = true;
      destination = "/bin/${name}";
    };
  writeShellApplication =
    {
      name,
      text,
      runtimeInputs ? [ ],
      runtimeEnv ? { },
      ...
    }:
    writeShellScriptBin name ''
      set -o errexit
      set -o nounset
      set -o pipefail
      ${lib.concatLines (lib.mapAttrsToList (key: value: "export ${lib.toShellVar key value}") runtimeEnv)}
      export PATH="${lib.makeBinPath runtimeInputs}:$PATH"
      ${text}
    '';
  symlinkJoin =
    {
      name,
      paths,
      postBuild ? "",
      ...
    }:
    derive name { inherit paths; } ''
      mkdir -p "$out"
      for path in $paths; do cp -rsf --no-preserve=mode "$path/." "$out/"; done
      ${postBuild}
    '';
  buildEnv = symlinkJoin;
  linkFarm =
    name: entries:
    derive name { } (
      "mkdir -p \"$out\"\n"
      + lib.concatMapStrings (entry: ''
        mkdir -p "$(dirname "$out/${entry.name}")"
        ln -s ${lib.escapeShellArg "${entry.path}"} "$out/${entry.name}"
      '') entries
    );
}
