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

  # What Nix asks for; everything else is Attic's API.
  lookups = "^/[^/]+/(nix-cache-info|[^/]+[.]narinfo)$";
  nars = "^/[^/]+/nar/.+$";
  tailnet = "100.64.0.0/10 fd7a:115c:a1e0::/48";
  priorities = lib.concatStrings (
    lib.mapAttrsToList (name: priority: "/${name}/nix-cache-info ${toString priority}\n") cfg.priorities
  );
  info = "StoreDir: ${builtins.storeDir}\nWantMassQuery: 1\nPriority: {nixci_priority}\n";
  unavailable = ''{\"code\":503,\"error\":\"Unavailable\",\"message\":\"The cache server is not running at the moment.\"}'';

  # Nix fails a build for an answer of 5xx, and takes 404 as a miss. A server that does not answer in time is one, too; after
  # ten of these, a few seconds pass without waiting for it.
  fetches = name: pattern: timeout: upstream: ''
    @nixci_${name} {
      method GET HEAD
      path_regexp ${pattern}
    }
    reverse_proxy @nixci_${name} ${upstream} {
      fail_duration 3s
      max_fails 10
      transport http {
        response_header_timeout ${timeout}
      }
      @broken status 5xx
      handle_response @broken {
        error 502
      }
    }
  '';

  # An upload is one PUT of any size, and the server is silent until it is stored: hence no limit for the body and patience for
  # the answer. What has not begun waits while the server restarts.
  proxy =
    site:
    lib.optionalString site.tailnet ''
      @nixci_outside not remote_ip ${tailnet}
      abort @nixci_outside
    ''
    + lib.optionalString (site.certificate != null) ''
      tls ${site.certificate} ${toString site.key}
    ''
    + fetches "lookup" lookups "10s" site.upstream
    + fetches "nar" nars "30s" site.upstream
    + ''
      reverse_proxy ${site.upstream} {
        lb_try_duration 5s
        transport http {
          response_header_timeout 1h
          read_timeout 1h
          write_timeout 1h
        }
      }
    '';
  # Caddy uses only the first of several such blocks, which is then the host's.
  errors = ''
    handle_errors {
      @nixci_failed expression {http.error.status_code} >= 500
      handle @nixci_failed {
        header Retry-After 30
        header Cache-Control no-store
        @nixci_info {
          method GET HEAD
          path_regexp ^/[^/]+/nix-cache-info$
        }
        handle @nixci_info {
          map {path} {nixci_priority} {
            ${priorities}default 41
          }
          header Content-Type text/x-nix-cache-info
          respond "${info}" 200
        }
        @nixci_miss {
          method GET HEAD
          path_regexp ${lookups}|${nars}
        }
        handle @nixci_miss {
          respond "The cache server is not running at the moment." 404
        }
        handle {
          header Content-Type application/json
          respond "${unavailable}" 503
        }
      }
    }
  '';
  ownErrors =
    domain:
    lib.any (
      value:
      let
        text = value.${domain}.extraConfig or "";
      in
      lib.isString text && caddyfile.setting "handle_errors" text != null
    ) (lib.filter lib.isAttrs (theirs.values option.virtualHosts));
  text = domain: proxy cfg.sites.${domain} + lib.optionalString (!ownErrors domain) errors;

  # One line of JSON for each request, without what might be secret: all headers of requests, queries, and the signed
  # addresses that the storage's answers redirect to.
  log = domain: ''
    output file ${caddy.logDir}/access-${domain}.log {
      roll_size ${toString cfg.log.size}MiB
      roll_keep ${toString cfg.log.files}
      roll_keep_for ${toString cfg.log.days}d
    }
    format filter {
      wrap json {
        time_format rfc3339
      }
      fields {
        request>uri regexp [?].*$ ""
        request>headers delete
        request>tls delete
        ${lib.concatMapStringsSep "\n    " (name: "resp_headers>${name} delete") [
          "Alt-Svc"
          "Cache-Control"
          "Content-Length"
          "Content-Type"
          "Date"
          "Location"
          "Server"
          "Set-Cookie"
          "X-Attic-Cache-Visibility"
        ]}
      }
    }
  '';

  global = theirs.text option.globalConfig;
  adminOff = caddyfile.setting "admin" global == "off";
  # Caddy serves its metrics where its admin interface is. Options of its servers are one block, which may be the host's.
  metrics =
    cfg.metrics && lib.all (name: caddyfile.setting name global == null) [ "admin" "metrics" "servers" ];

  # Sites of the host that also want one of these domains.
  extra =
    domain: lib.replaceStrings [ (text domain) ] [ "" ] caddy.virtualHosts.${domain}.extraConfig;
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
  public = lib.any (site: !site.tailnet) (lib.attrValues cfg.sites);
  opens = public && cfg.openFirewall != false;
  # Nobody has decided yet.
  undecided = public && cfg.openFirewall == null && firewall.enable;
  tailnetOnly = lib.filter (domain: cfg.sites.${domain}.tailnet) domains;
  tailnetInterface = config.services.tailscale.interfaceName or "tailscale0";
  tailnetNames = lib.filter (lib.hasSuffix ".ts.net") domains;
  # The authority cannot reach the host to check the name.
  uncertified = lib.filter (
    domain:
    cfg.sites.${domain}.certificate == null
    && !lib.elem domain tailnetNames
    && caddy.virtualHosts.${domain}.useACMEHost or null == null
    && caddyfile.setting "tls" (extra domain) == null
    && lib.all (name: caddyfile.setting name global == null) [ "acme_dns" "local_certs" ]
  ) tailnetOnly;
  openPorts = {
    allowedTCPPorts = [
      http
      https
    ];
    allowedUDPPorts = [ https ];
  };
  ruleset = config.networking.nftables.ruleset or "" != "" || config.networking.nftables.rulesetFile or null != null;
in
{
  options.nixci.caddy = t.role {
    sites = t.optionOr { } (t.byDomain (
      t.submodule {
        upstream = t.optionOr "127.0.0.1:8080" t.upstream "Where the requests go.";
        tailnet = t.optionOr false t.bool "Answer the addresses of a tailnet only.";
        certificate = t.optionOr null (t.nullOr t.path) "Certificate chain (PEM) on the host; null lets Caddy obtain one.";
        key = t.optionOr null (t.nullOr t.path) "Its key (PEM).";
      }
    )) "Sites by domain name.";
    email = t.optionOr null (t.nullOr t.email) "Contact for the certificate authority.";
    acmeCa = t.optionOr null (t.nullOr t.url) "Directory of the ACME authority; null means Caddy's choice.";
    acmeCaRoot = t.optionOr null (t.nullOr t.path) "Root certificate (PEM) of a private ACME authority's own API.";
    openFirewall = t.optionOr null (t.nullOr t.bool) "Open the ports of HTTP, HTTPS and HTTP/3; null means yes, unless the host admits these ports on some interfaces only. For sites of the tailnet, they are opened on its interface.";
    priorities = t.optionOr { } (t.byCache t.ints.unsigned) "Cache to its priority, which Nix reads while the server is away.";
    metrics = t.optionOr true t.bool "Count requests, for http://localhost:2019/metrics.";
    log = t.group "The access log of each site." {
      size = t.optionOr 50 t.ints.positive "MiB after which a new file begins.";
      files = t.optionOr 10 t.ints.positive "Older files that are kept.";
      days = t.optionOr 30 t.ints.positive "Days after which an older file is deleted.";
    };
  };

  config = lib.mkIf (cfg != null) (
    lib.mkMerge [
      {
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
          assertion = false;
          message = "nixci: ${settings} has a site https://${domain} for the tailnet only, for which no certificate authority can reach this host. Set certificate and key of ${domain} in caddy_sites to files on the host, services.caddy.virtualHosts.\"${domain}\".useACMEHost, or acme_dns in services.caddy.globalConfig in the host's own configuration, or use a name that ends with .ts.net.";
        }) uncertified
        ++ map (domain: {
          assertion = (cfg.sites.${domain}.certificate == null) == (cfg.sites.${domain}.key == null);
          message = "nixci: ${settings} has only one of certificate and key for https://${domain}. Set both in caddy_sites, or none.";
        }) domains
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
          map (
            domain:
            "nixci: ${theirs.whereIs domain option.virtualHosts} has a handle_errors for https://${domain}, so that a cache server which is away is an error for Nix, and not a miss. Remove it there if that is not intended."
          ) (lib.filter ownErrors domains)
          ++ lib.optional (undecided && someInterfaces == [ ] && exposed != [ ])
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
              # Newer releases of Caddy have this outside `servers', and still read it here.
              ++ lib.optionals metrics [
                "servers {"
                "  metrics"
                "}"
              ]
            )
          );
          # A reload needs the admin API.
          enableReload = lib.mkIf adminOff (t.hostDecides false);
          virtualHosts = lib.genAttrs domains (domain: {
            extraConfig = text domain;
            logFormat = t.hostDecides (log domain);
          });
        };
        # Some releases of NixOS forget this, and a new site would wait for the next boot.
        systemd.services.caddy.restartTriggers = lib.mkIf (!caddy.enableReload) [ caddy.configFile ];

        environment.systemPackages = [
          (pkgs.writeShellScriptBin "nixci-hit-rate" ''
            exec ${lib.getExe' pkgs.python3 "python3"} ${./hit-rate.py} ${caddy.logDir} "$@"
          '')
        ];

        system.checks = lib.optional (caddy.adapter or "caddyfile" == "caddyfile") checked;

        networking.firewall = lib.mkMerge [
          (lib.mkIf opens openPorts)
          (lib.mkIf (!public && cfg.openFirewall != false) { interfaces.${tailnetInterface} = openPorts; })
        ];
      }
      # Tailscale gives certificates of its own names to whom the host permits it.
      (lib.optionalAttrs (options.services ? tailscale) {
        services.tailscale.permitCertUid = lib.mkIf (tailnetNames != [ ]) (t.hostDecides caddy.user);
      })
    ]
  );
}
