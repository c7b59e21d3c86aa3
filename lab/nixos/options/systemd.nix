# systemd.{services,timers,paths,targets,sockets}: typed options in, unit files out.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption types;
  cfg = config.systemd;
  opt =
    type: default:
    mkOption {
      inherit type default;
    };
  strings = opt (types.listOf types.str) [ ];
  text = opt types.lines "";
  flag = opt types.bool;

  # one value, or a list whose definitions are joined
  atom = types.oneOf [
    types.bool
    types.int
    types.float
    types.str
    types.path
    types.package
  ];
  directive = lib.mkOptionType {
    name = "systemd option";
    check = x: if builtins.isList x then lib.all atom.check x else x == null || atom.check x;
    merge =
      loc: defs:
      if lib.any (def: builtins.isList def.value) defs then
        lib.concatMap (def: lib.toList def.value) defs
      else
        lib.mergeEqualOption loc defs;
  };
  section = opt (types.attrsOf directive) { };

  common = {
    enable = flag true;
    description = opt types.singleLineStr "";
    documentation = strings;
    aliases = strings;
    wantedBy = strings;
    requiredBy = strings;
    after = strings;
    before = strings;
    wants = strings;
    requires = strings;
    requisite = strings;
    bindsTo = strings;
    partOf = strings;
    conflicts = strings;
    onFailure = strings;
    onSuccess = strings;
    startLimitBurst = opt (types.nullOr types.int) null;
    startLimitIntervalSec = opt (types.nullOr types.int) null;
    restartTriggers = opt (types.listOf types.unspecified) [ ];
    reloadTriggers = opt (types.listOf types.unspecified) [ ];
    unitConfig = section;
  };
  service =
    { config, ... }:
    {
      options = common // {
        serviceConfig = section;
        environment =
          opt
            (types.attrsOf (
              types.nullOr (
                types.oneOf [
                  types.str
                  types.path
                  types.package
                ]
              )
            ))
            { };
        path =
          opt
            (types.listOf (
              types.oneOf [
                types.package
                types.str
              ]
            ))
            [ ];
        enableDefaultPath = flag true;
        script = text;
        scriptArgs = opt types.str "";
        preStart = text;
        postStart = text;
        preStop = text;
        postStop = text;
        reload = text;
        startAt = mkOption {
          type = types.either types.str (types.listOf types.str);
          default = [ ];
          apply = lib.toList;
        };
        restartIfChanged = flag true;
        reloadIfChanged = flag false;
        stopIfChanged = flag true;
      };
      config.path = lib.mkIf config.enableDefaultPath (
        lib.mkAfter [
          pkgs.coreutils
          pkgs.findutils
          pkgs.gnugrep
          pkgs.gnused
          pkgs.systemd
        ]
      );
    };
  kind =
    sectionName:
    types.attrsOf (
      types.submodule {
        options = common // lib.optionalAttrs (sectionName != null) { ${sectionName} = section; };
      }
    );

  # -- text ------------------------------------------------------------------------------------------------
  value = v: if builtins.isBool v then lib.boolToString v else "${if builtins.isInt v || builtins.isFloat v then builtins.toJSON v else v}";
  lines =
    set:
    lib.concatStrings (
      lib.mapAttrsToList (
        name: v: lib.concatMapStrings (x: "${name}=${value x}\n") (if v == null then [ ] else lib.toList v)
      ) set
    );
  joined = lib.filterAttrs (_: list: list != [ ]);
  unitSection =
    unit:
    "[Unit]\n"
    + lines (
      lib.mapAttrs (_: list: toString list) (joined {
        Documentation = unit.documentation;
        After = unit.after;
        Before = unit.before;
        Wants = unit.wants;
        Requires = unit.requires;
        Requisite = unit.requisite;
        BindsTo = unit.bindsTo;
        PartOf = unit.partOf;
        Conflicts = unit.conflicts;
        OnFailure = unit.onFailure;
        OnSuccess = unit.onSuccess;
        X-Restart-Triggers = map toString unit.restartTriggers;
        X-Reload-Triggers = map toString unit.reloadTriggers;
      })
      // lib.optionalAttrs (unit.description != "") { Description = unit.description; }
      // lib.optionalAttrs (unit.startLimitBurst != null) { StartLimitBurst = unit.startLimitBurst; }
      // lib.optionalAttrs (unit.startLimitIntervalSec != null) {
        StartLimitIntervalSec = unit.startLimitIntervalSec;
      }
      // unit.unitConfig
    );

  installSection =
    unit: lib.optionalString (unit.wantedBy != [ ]) "\n[Install]\nWantedBy=${toString unit.wantedBy}\n";

  # a script becomes a separate file, so that systemd does not interpret `%` and `$` in it
  job = name: step: text: "${pkgs.writeShellScriptBin "${lib.replaceStrings [ "@" "\\" ] [ "-" "-" ] name}-${step}" "set -e\n${text}"}/bin/${lib.replaceStrings [ "@" "\\" ] [ "-" "-" ] name}-${step}";
  serviceText =
    name: unit:
    let
      step = directive: step: text: lib.optionalAttrs (text != "") { ${directive} = [ (job name step text) ]; };
      scripts = [
        (lib.optionalAttrs (unit.script != "") { ExecStart = "${job name "start" unit.script} ${unit.scriptArgs}"; })
        (step "ExecStartPre" "pre-start" unit.preStart)
        (step "ExecStartPost" "post-start" unit.postStart)
        (step "ExecStop" "pre-stop" unit.preStop)
        (step "ExecStopPost" "post-stop" unit.postStop)
        (lib.optionalAttrs (unit.reload != "") { ExecReload = job name "reload" unit.reload; })
      ];
      merged = lib.zipAttrsWith (
        directive: values:
        if lib.length values == 1 then
          lib.head values
        else if lib.any builtins.isList values then
          lib.concatMap lib.toList values
        else
          throw "The option `systemd.services.${name}.serviceConfig.${directive}' has conflicting definition values: a script and a command."
      ) ([ unit.serviceConfig ] ++ scripts);
      paths = lib.concatMap (p: [ "${p}/bin" ]) unit.path;
      environment = { PATH = lib.concatStringsSep ":" paths; } // lib.filterAttrs (_: v: v != null) unit.environment;
      behaviour =
        lib.optionalAttrs (!unit.restartIfChanged) { X-RestartIfChanged = false; }
        // lib.optionalAttrs unit.reloadIfChanged { X-ReloadIfChanged = true; }
        // lib.optionalAttrs (!unit.stopIfChanged) { X-StopIfChanged = false; };
    in
    unitSection unit
    + "\n[Service]\n"
    + lib.concatStrings (
      lib.mapAttrsToList (n: v: "Environment=${builtins.toJSON "${n}=${lib.replaceStrings [ "%" ] [ "%%" ] "${v}"}"}\n") environment
    )
    + lines (merged // behaviour)
    + installSection unit;
  other =
    sectionName: unit: unitSection unit + lib.optionalString (sectionName != null) "\n[${lib.toUpper (lib.substring 0 1 sectionName)}${lib.substring 1 (lib.stringLength sectionName - 7) sectionName}]\n${lines unit.${sectionName}}${installSection unit}";

  units =
    suffix: toText: set:
    lib.mapAttrs' (name: unit: lib.nameValuePair "${name}.${suffix}" { inherit unit; text = toText name unit; }) (
      lib.filterAttrs (_: unit: unit.enable) set
    );
  all =
    units "service" serviceText cfg.services
    // units "timer" (_: other "timerConfig") cfg.timers
    // units "path" (_: other "pathConfig") cfg.paths
    // units "socket" (_: other "socketConfig") cfg.sockets
    // units "target" (_: other null) cfg.targets;

  files = pkgs.runCommand "system-units" {
    units = builtins.toJSON (lib.mapAttrs (_: u: u.text) all);
    passAsFile = [ "units" ];
  } ''
    mkdir -p "$out"
    python3 -c 'import json, sys
    for name, text in json.load(open(sys.argv[1])).items():
        open(f"{sys.argv[2]}/{name}", "w").write(text)' "$unitsPath" "$out"
  '';
  linked =
    directory: field:
    lib.concatLists (
      lib.mapAttrsToList (
        name: u: map (other: lib.nameValuePair "systemd/system/${other}.${directory}/${name}" "${files}/${name}") u.unit.${field}
      ) all
    );
in
{
  options.systemd = {
    package = mkOption {
      type = types.package;
      default = pkgs.systemd;
    };
    services = opt (types.attrsOf (types.submodule service)) { };
    timers = opt (kind "timerConfig") { };
    paths = opt (kind "pathConfig") { };
    sockets = opt (kind "socketConfig") { };
    targets = opt (kind null) { };
    tmpfiles.rules = strings;
    units = mkOption {
      type = types.lazyAttrsOf types.unspecified;
      internal = true;
      description = "The text of each unit.";
    };
  };

  config = {
    systemd.targets.sysinit-reactivation.description = "Reactivate sysinit units";
    systemd.timers = lib.mapAttrs (_name: service: {
      wantedBy = [ "timers.target" ];
      timerConfig.OnCalendar = service.startAt;
    }) (lib.filterAttrs (_: service: service.enable && service.startAt != [ ]) cfg.services);
    systemd.units = lib.mapAttrs (_: u: { inherit (u) text; }) all;
    environment.etc =
      lib.mapAttrs' (name: _: lib.nameValuePair "systemd/system/${name}" { source = "${files}/${name}"; }) all
      // lib.mapAttrs (_: source: { inherit source; }) (
        lib.listToAttrs (linked "wants" "wantedBy" ++ linked "requires" "requiredBy")
      )
      // {
        "tmpfiles.d/00-nixos.conf".text = "# from systemd.tmpfiles.rules\n" + lib.concatLines cfg.tmpfiles.rules;
      };
  };
}
