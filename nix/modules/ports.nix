# Two servers on one port: one of them would fail, during the activation. What the configuration says about the ports
# of other servers is compared with ours; a program that is started otherwise is seen by the checks after the rebuild.
{
  config,
  lib,
  modulesPath,
  options,
  ...
}:
let
  theirs = import ./theirs.nix { inherit lib modulesPath; };
  caddyfile = import ./caddyfile.nix { inherit lib; };
  roles = config.nixci;
  inherit (config) services;

  # "address:port", also without address; [ ] for anything else, such as a path.
  parse =
    text:
    let
      found = builtins.match "(.*[]:*a-z0-9])?:([0-9]{1,5})(/tcp)?" (toString text);
      bare = builtins.match "[0-9]{1,5}" (toString text);
    in
    if bare != null then
      [
        {
          address = "";
          port = lib.toInt text;
        }
      ]
    else if found != null then
      [
        {
          address = toString (lib.head found);
          port = lib.toInt (lib.elemAt found 1);
        }
      ]
    else
      [ ];
  # Arguments of a directive in the text of a configuration.
  inText =
    directive: text:
    lib.concatMap (
      line:
      let
        found = builtins.match "[[:space:]]*${directive}[[:space:]]+([^;[:space:]]+).*" line;
      in
      # HTTP/3 is UDP
      lib.optionals (found != null && !lib.hasInfix " quic" line && !lib.hasInfix " udp" line) (
        lib.concatMap parse (lib.splitString "," (lib.head found))
      )
    ) (lib.splitString "\n" text);

  server =
    name: listens:
    let
      service = services.${name} or { };
    in
    lib.optional (options.services ? ${name} && service.enable or false) {
      inherit name;
      options = [
        options.services.${name}.enable
      ]
      ++ lib.optional (lib.isOption options.services.${name}.virtualHosts or null) options.services.${name}.virtualHosts;
      listens = listens service;
    };
  at =
    addressPath: portPath: service:
    let
      port = lib.attrByPath portPath null service;
      address = if addressPath == null then "" else lib.attrByPath addressPath "" service;
    in
    lib.optionals (port != null) (
      map (one: {
        address = toString one;
        port = if lib.isInt port then port else lib.toInt port;
      }) (lib.toList address)
    );
  text = path: service: parse (lib.attrByPath path "" service);

  nginx =
    nginx:
    let
      tls = host: host.onlySSL || host.addSSL || host.forceSSL || host.enableSSL or false;
      httpPort = nginx.defaultHTTPListenPort or 80;
      httpsPort = nginx.defaultSSLListenPort or 443;
      byDefault =
        host: address:
        map (port: { inherit address port; }) (
          lib.optional (!host.onlySSL) httpPort ++ lib.optional (tls host) httpsPort
        );
      explicit = map (listen: {
        address = listen.addr;
        port = if listen.port or null != null then listen.port else if listen.ssl or false then httpsPort else httpPort;
      });
      of =
        host:
        if host.listen != [ ] then
          explicit host.listen
        else if nginx.defaultListen or [ ] != [ ] then
          explicit nginx.defaultListen
        else
          lib.concatMap (byDefault host) (
            if host.listenAddresses != [ ] then host.listenAddresses else nginx.defaultListenAddresses or [ "" ]
          );
    in
    lib.concatMap of (lib.attrValues nginx.virtualHosts)
    ++ lib.optional (nginx.statusPage or false) {
      address = "";
      port = httpPort;
    }
    ++ inText "listen" (
      lib.concatStringsSep "\n" (
        map (name: toString (nginx.${name} or "")) [
          "config"
          "appendConfig"
          "httpConfig"
          "appendHttpConfig"
          "streamConfig"
        ]
      )
    );
  httpd =
    httpd:
    lib.concatMap (
      host:
      if host.listen != [ ] then
        map (listen: {
          address = listen.ip;
          inherit (listen) port;
        }) host.listen
      else
        lib.concatMap (
          address:
          map (port: { inherit address port; }) (
            lib.optional (!host.onlySSL) 80 ++ lib.optional (host.onlySSL || host.addSSL || host.forceSSL) 443
          )
        ) host.listenAddresses
    ) (lib.attrValues httpd.virtualHosts);
  traefik =
    traefik:
    lib.concatMap (entry: parse (entry.address or "")) (
      lib.attrValues (traefik.staticConfigOptions.entryPoints or { })
    );
  # The host's side of "[address:]port:container's port".
  published =
    ports:
    lib.concatMap (
      port:
      let
        found = builtins.match "((.*:)?[0-9]{1,5}):[0-9]+(/tcp)?" port;
      in
      lib.optionals (found != null) (parse (lib.head found))
    ) ports;

  others =
    server "nginx" nginx
    ++ server "httpd" httpd
    ++ server "haproxy" (haproxy: inText "bind" (toString haproxy.config))
    ++ server "traefik" traefik
    ++ server "lighttpd" (at null [ "port" ])
    ++ server "sslh" (at [ "listenAddresses" ] [ "port" ])
    ++ server "openssh" (
      ssh:
      map (port: {
        address = "";
        inherit port;
      }) ssh.ports
    )
    ++ server "jenkins" (at [ "listenAddress" ] [ "port" ])
    ++ server "open-webui" (at [ "host" ] [ "port" ])
    ++ server "grafana" (at [ "settings" "server" "http_addr" ] [ "settings" "server" "http_port" ])
    ++ server "gitea" (at [ "settings" "server" "HTTP_ADDR" ] [ "settings" "server" "HTTP_PORT" ])
    ++ server "forgejo" (at [ "settings" "server" "HTTP_ADDR" ] [ "settings" "server" "HTTP_PORT" ])
    ++ server "adguardhome" (at [ "host" ] [ "port" ])
    ++ server "qbittorrent" (at null [ "webuiPort" ])
    ++ server "gerrit" (text [ "listenAddress" ])
    ++ server "miniflux" (text [ "config" "LISTEN_ADDR" ])
    ++ server "static-web-server" (text [ "listen" ])
    ++ lib.mapAttrsToList (name: container: {
      name = "the container ${name}";
      options = [ options.virtualisation.oci-containers.containers ];
      listens = published container.ports;
    }) (config.virtualisation.oci-containers.containers or { })
    ++ lib.mapAttrsToList (name: socket: {
      name = "${name}.socket";
      options = [ options.systemd.sockets ];
      listens = lib.concatMap parse (
        (socket.listenStreams or [ ]) ++ lib.toList (socket.socketConfig.ListenStream or [ ])
      );
    }) (lib.filterAttrs (_name: socket: socket.enable) config.systemd.sockets);

  # Sites of Caddy with a port in their address.
  caddySites = lib.optional services.caddy.enable {
    name = "caddy";
    options = [ options.services.caddy.virtualHosts ];
    listens = lib.concatMap (
      site:
      lib.concatMap (
        listen:
        map (address: listen // { inherit address; }) (
          if site.listenAddresses == [ ] then [ "" ] else site.listenAddresses
        )
      ) (lib.concatMap parse (caddyfile.addresses (toString ([ site.hostName ] ++ site.serverAliases))))
    ) (lib.attrValues services.caddy.virtualHosts);
  };

  everywhere = [
    ""
    "*"
    "0.0.0.0"
    "::"
    "[::]"
    "[::0]"
  ];
  plain = address: if address == "localhost" then "127.0.0.1" else address;
  # A path is a Unix socket.
  overlap =
    a: b:
    a.port == b.port
    && !lib.hasInfix "/" "${a.address}${b.address}"
    && (lib.elem a.address everywhere || lib.elem b.address everywhere || plain a.address == plain b.address);

  conflicts =
    role: program: own: advice: candidates:
    lib.concatMap (
      other:
      let
        ports = lib.unique (
          map (listen: listen.port) (lib.filter (listen: lib.any (overlap listen) own) other.listens)
        );
      in
      lib.optional (ports != [ ]) {
        assertion = false;
        message = "nixci: both ${other.name} (${theirs.where other.options}) and ${program} (${theirs.show options.nixci.${role}.files}) would listen on ${
          if lib.length ports == 1 then "port" else "the ports"
        } ${lib.concatMapStringsSep " and " toString ports}, and only one of them can. ${advice other}";
      }
    ) candidates;

  caddyListens =
    let
      default = caddyfile.listens services.caddy;
    in
    lib.concatMap (
      address:
      map (port: { inherit address port; }) [
        default.http
        default.https
      ]
    ) default.addresses;
in
{
  config.assertions =
    lib.optionals (roles.caddy != null && services.caddy.enable) (
      conflicts "caddy" "Caddy" caddyListens (
        other:
        "Give ${other.name} another port, and serve its sites with services.caddy.virtualHosts if they need ${
          lib.concatMapStringsSep " and " (listen: toString listen.port) caddyListens
        }."
      ) others
    )
    ++ lib.optionals (roles.attic != null) (
      conflicts "attic" "the Attic server" (parse roles.attic.listen) (
        _other: "Set attic_listen and the upstream in caddy_sites to another port."
      ) (others ++ caddySites)
    );
}
