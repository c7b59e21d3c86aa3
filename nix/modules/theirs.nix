# What the host's own configuration says, apart from these modules and NixOS itself. Messages name its files.
{ lib, modulesPath }:
let
  folders = [
    "${toString ./.}/"
    "${toString modulesPath}/"
  ];
  own = def: !lib.any (folder: lib.hasPrefix folder (toString def.file)) folders;
  filesOf = defs: lib.unique (map (def: toString def.file) defs);
in
rec {
  definitions = option: lib.filter own (option.definitionsWithLocations or [ ]);
  values = option: map (def: def.value) (definitions option);
  text = option: lib.concatStringsSep "\n" (values option);

  # The files that define one of these options, or that name in it, as a phrase.
  show = files: if files == [ ] then "the configuration" else lib.concatStringsSep " and " files;
  where = list: show (lib.unique (lib.concatMap (option: filesOf (definitions option)) list));
  whereIs =
    name: option:
    show (filesOf (lib.filter (def: lib.isAttrs def.value && def.value ? ${name}) (definitions option)));
}
