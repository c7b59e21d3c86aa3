# HTTPS in front of local services, certificates by ACME.
{
  config,
  lib,
  modulesPath,
  options,
  pkgs,
  ...
}:
let
  t = import ./types.nix { inherit lib; };
  theirs = import ./theirs.nix { inherit lib modulesPath; };
  caddyfile = import ./caddyfile.nix { inherit lib; };
  cfg = config.nixci.caddy;
  caddy = config.services.caddy;
  option = options.services.caddy;
  settings = theirs.show options.nixci.caddy.files;
  domains = lib.attrNames cfg.sites;
  inherit (caddyfile.listens caddy) http https;
  ports = "${toString http} and ${toString https}";

  # A NAR is one PUT of any size, and the server is silent until it is stored: hence no limit for
  # the body and patience for the answer.
  proxy = upstream: ''
    reverse_proxy ${upstream} {
      transport http {
        response_header_timeout 1h
        read_timeout 1h
        write_timeout 1h
      }
    }
  '';

  adminOff = caddyfile.setting "admin" (theirs.text option.globalConfig) == "off";

  # Sites of the host that also want one of these domains.
  extra =
    domain: lib.replaceStrings [ (proxy cfg.sites.${domain}.upstream) ] [ "" ] caddy.virtualHosts.${domain}.extraConfig;
  answered = lib.filter (domain: caddyfile.answersAll (extra domain) != [ ]) domains;
  addressesOf =
    site: map caddyfile.normal (caddyfile.addresses (toString ([ site.hostName ] ++ site.serverAliases)));
  clashes = lib.concatMap (
    domain:
    map (name: { inherit domain name; }) (
      lib.filter (
        name: name != domain && lib.elem domain (addressesOf caddy.virtualHosts.${name})
      ) (lib.attrNames caddy.virtualHosts)
    )
  ) domains;
  inText = lib.filter (
    domain: lib.elem domain (map caddyfile.normal (caddyfile.sites (theirs.text option.extraConfig)))
  ) domains;
  serveOnce = domain: "Remove ${domain} there, or from caddy_sites in the inventory.";

  # Caddy itself has the last word about text: a name from an environment variable or an import is not seen above.
  # Only this mistake stops the build; others may be none on the host. No path is named here, because in a flake each commit
  # has its own, which would make each commit another system.
  checked = pkgs.runCommand "nixci-caddy-sites" { inherit (caddy) configFile; } ''
    export HOME="$TMPDIR"
    if ! ${lib.getExe' caddy.package "caddy"} adapt --adapter caddyfile --config "$configFile" >/dev/null 2>messages &&
      grep -q 'ambiguous site definition' messages; then
      cat messages >&2
      echo "nixci: Caddy has the same site twice: the settings of the role caddy bring ${toString domains}, and services.caddy in the host's own configuration another site of that name. Remove one of them." >&2
      exit 1
    fi
    touch "$out"
  '';

  # The firewall as it is without these settings.
  firewall = config.networking.firewall;
  firewallOption = options.networking.firewall;
  others =
    name:
    lib.concatMap (def: def.value) (
      lib.filter (def: !lib.hasPrefix "${toString ./.}/" (toString def.file)) (
        firewallOption.${name}.definitionsWithLocations
      )
    );
  openToAll =
    port:
    lib.elem port (others "allowedTCPPorts")
    || lib.any (range: range.from <= port && port <= range.to) (others "allowedTCPPortRanges");
  someInterfaces = lib.filter (
    name: lib.any (port: lib.elem port firewall.interfaces.${name}.allowedTCPPorts) [
      http
      https
    ]
  ) (lib.attrNames firewall.interfaces);
  # Sites of the host that nobody but its own networks reaches so far.
  exposed = lib.filter (
    address:
    let
      port = builtins.match ".*:([0-9]{1,5})" address;
      plain = lib.hasPrefix "http://" address;
    in
    if port != null then
      lib.elem (lib.head port) [ (toString http) (toString https) ] && !openToAll (lib.toInt (lib.head port))
    else
      !openToAll (if plain then http else https)
  ) (
    lib.concatMap (
      name:
      let
        site = caddy.virtualHosts.${name};
      in
      lib.optionals (!lib.elem name domains) (
        caddyfile.addresses (toString ([ site.hostName ] ++ site.serverAliases))
      )
    ) (lib.attrNames caddy.virtualHosts)
    ++ caddyfile.sites (theirs.text option.extraConfig)
  );
  opens = cfg.openFirewall != false;
  # Nobody has decided yet.
  undecided = cfg.openFirewall == null && firewall.enable;
  ruleset = config.networking.nftables.ruleset or "" != "" || config.networking.nftables.rulesetFile or null != null;
in
{
  options.nixci.caddy = t.role {
    sites = t.optionOr { } (t.byDomain (
      t.submodule {
        upstream = t.optionOr "127.0.0.1:8080" t.upstream "Where the requests go.";
      }
    )) "Sites by domain name.";
    email = t.optionOr null (t.nullOr t.email) "Contact for the certificate authority.";
    acmeCa = t.optionOr null (t.nullOr t.url) "Directory of the ACME authority; null means Caddy's choice.";
    acmeCaRoot = t.optionOr null (t.nullOr t.path) "Root certificate (PEM) of a private ACME authority's own API.";
    openFirewall = t.optionOr null (t.nullOr t.bool) "Open the ports of HTTP, HTTPS and HTTP/3; null means yes, unless the host admits these ports on some interfaces only.";
  };

  config = lib.mkIf (cfg != null) {
    assertions = [
      {
        assertion = caddy.enable;
        message = "nixci: ${settings} needs Caddy, which ${theirs.where [ option.enable ]} turns off. Remove services.caddy.enable there, or remove the role caddy from the playbook.";
      }
      {
        # Caddy's module has two ways to leave out the virtual hosts without a word.
        assertion =
          caddy.settings or { } == { } && options.services.caddy.configFile.highestPrio or 1500 >= 1500;
        message = "nixci: ${settings} adds virtual hosts, but services.caddy.settings or services.caddy.configFile is set in ${
          theirs.where [
            option.settings
            option.configFile
          ]
        }, which makes NixOS ignore all virtual hosts. Move those settings to services.caddy.virtualHosts, globalConfig or extraConfig.";
      }
      {
        assertion = adminOff -> !caddy.enableReload;
        message = "nixci: ${settings} adds a site to Caddy, which cannot be reloaded: ${theirs.where [ option.globalConfig ]} has `admin off', and ${theirs.where [ option.enableReload ]} sets services.caddy.enableReload. Set that to false.";
      }
      {
        assertion = undecided && !openToAll https -> someInterfaces == [ ];
        message = "nixci: ${settings} would open the ports ${ports} to everybody, but ${theirs.where [ firewallOption.interfaces ]} admits them on ${lib.concatStringsSep ", " someInterfaces} only. Set caddy_open_firewall in the inventory to true or false.";
      }
    ]
    ++ map (domain: {
      assertion = !lib.elem domain answered;
      message = "nixci: both ${settings} and ${theirs.whereIs domain option.virtualHosts} serve https://${domain}, and only one of them can answer (`${lib.head (caddyfile.answersAll (extra domain))}'). ${serveOnce domain}";
    }) domains
    ++ map (clash: {
      assertion = false;
      message = "nixci: both ${settings} and services.caddy.virtualHosts.\"${clash.name}\" in ${theirs.whereIs clash.name option.virtualHosts} serve https://${clash.domain}, which Caddy refuses. ${serveOnce clash.domain}";
    }) clashes
    ++ map (domain: {
      assertion = false;
      message = "nixci: both ${settings} and services.caddy.extraConfig in ${theirs.where [ option.extraConfig ]} serve https://${domain}, which Caddy refuses. ${serveOnce domain}";
    }) inText;

    warnings =
      lib.optional (undecided && someInterfaces == [ ] && exposed != [ ])
        "nixci: ${settings} opens the ports ${ports} to everybody, so that ${lib.concatStringsSep ", " exposed} in ${
          theirs.where [
            option.virtualHosts
            option.extraConfig
          ]
        } can be reached as well. Set caddy_open_firewall in the inventory to true to silence this, or to false to keep them closed."
      ++ lib.optional (opens && !firewall.enable && ruleset)
        "nixci: ${settings} cannot open the ports ${ports}, because networking.firewall is off and ${
          theirs.where [
            options.networking.nftables.ruleset
            options.networking.nftables.rulesetFile
          ]
        } has a ruleset of its own. Admit ${toString http}/tcp, ${toString https}/tcp and ${toString https}/udp there.";

    services.caddy = {
      enable = t.overDefaults true;
      # In front of everything else, because Caddy takes the last of several: the host's own text and its
      # services.caddy.email win.
      globalConfig = lib.mkBefore (
        lib.concatLines (
          lib.optional (cfg.email != null) "email ${cfg.email}"
          ++ lib.optional (cfg.acmeCa != null) "acme_ca ${cfg.acmeCa}"
          ++ lib.optional (cfg.acmeCaRoot != null) "acme_ca_root ${cfg.acmeCaRoot}"
        )
      );
      # A reload needs the admin API.
      enableReload = lib.mkIf adminOff (t.hostDecides false);
      virtualHosts = lib.mapAttrs (_domain: site: { extraConfig = proxy site.upstream; }) cfg.sites;
    };
    # Some releases of NixOS forget this, and a new site would wait for the next boot.
    systemd.services.caddy.restartTriggers = lib.mkIf (!caddy.enableReload) [ caddy.configFile ];

    system.checks = lib.optional (caddy.adapter or "caddyfile" == "caddyfile") checked;

    networking.firewall = lib.mkIf opens {
      allowedTCPPorts = [
        http
        https
      ];
      allowedUDPPorts = [ https ];
    };
  };
}
