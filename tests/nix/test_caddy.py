# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Caddy with the site that the role caddy configures, before a cache server that is up, slow, broken or away."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import typing as t
from collections.abc import Iterator

import pytest

from lab.shell import attempt, run
from tests.support.containers import mark
from tests.support.lab_image import lab_image
from tests.support.paths import ROOT

from .conftest import EVALUATORS, Host

SITE, TAILNET, TS, OWN = "cache.example.net", "tail.example.net", "cache.tail1234.ts.net", "www.example.net"
MEMBER = "100.64.0.7"
SECRET = "not-for-the-log"  # noqa: S105
INFO = "StoreDir: /nix/store\nWantMassQuery: 1\nPriority: {}\n"

# What the modules of NixOS make of the options, in each release.
CADDYFILE = """let caddy = config.services.caddy; in "{\\n${caddy.globalConfig}\\n}\\n${caddy.extraConfig}\\n"
  + lib.concatMapStrings (site:
    "${site.hostName} ${toString site.serverAliases} {\\nlog {\\n${site.logFormat}\\n}\\n${site.extraConfig}\\n}\\n"
  ) (lib.attrValues caddy.virtualHosts)"""


def settings(host: Host) -> None:
    files = {"certificate": "/srv/certificate.pem", "key": "/srv/key.pem"}
    host.settings(
        "caddy",
        sites={SITE: {}, TAILNET: {"tailnet": True, **files}, TS: {"tailnet": True}},
        email=None,
        priorities={"ci-cache": 60},
        log={"size": 1, "files": 2, "days": 3},
    )
    host.configure(f"""{{ services.caddy = {{
      globalConfig = "local_certs\\nskip_install_trust";
      virtualHosts."{OWN}".extraConfig = ''
        respond /ci-cache/nix-cache-info "StoreDir: /nix/store"
        reverse_proxy 127.0.0.1:9
      '';
    }}; }}""")


def nix_build(host: str) -> str:
    expression = f"""derivation {{ name = "{host}"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo > $out" ]; }}"""
    options = f"--option substituters https://{host}/ci-cache --option download-attempts 1"
    trust = "NIX_SSL_CERT_FILE=/root/.local/share/caddy/pki/authorities/local/root.crt"
    return f"grep -q {host} /etc/hosts || echo 127.0.0.1 {host} >> /etc/hosts; {trust} nix-build --no-out-link {options} --expr '{expression}'"


class Answer(t.NamedTuple):
    status: int
    version: str
    headers: dict[str, str]
    body: str


class Server:
    """A container with Caddy, on addresses of its own."""

    def __init__(self, caddyfile: str) -> None:
        options = ("--memory=1g", "--cap-add=NET_ADMIN")
        self.id = run("docker", "run", "--detach", mark(), *options, lab_image(), "sleep", "infinity").strip()
        self.put("/root/Caddyfile", caddyfile)
        self.put("/root/upstream.py", (ROOT / "tests/nix/caddy_upstream.py").read_text())
        names = ",".join(f"DNS:{name}" for name in (TAILNET, TS))
        self.out(
            "caddy fmt --overwrite /root/Caddyfile; mkdir -p /var/log/caddy; cd /srv; "
            f"ip address add {MEMBER}/32 dev lo; "
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=test "
            f"-addext subjectAltName={names} -keyout key.pem -out certificate.pem 2>/dev/null"
        )
        self.out("caddy adapt --validate --adapter caddyfile --config /root/Caddyfile >/dev/null")
        self.background("python3 /root/upstream.py tailscale")
        self.start()
        self.background("exec caddy run --adapter caddyfile --config /root/Caddyfile >/tmp/caddy.log 2>&1")
        self.out("for i in $(seq 300); do curl -s localhost:2019/config/ && break; sleep 0.1; done")

    def sh(self, script: str) -> subprocess.CompletedProcess[str]:
        return attempt("docker", "exec", self.id, "bash", "-c", script)

    def out(self, script: str) -> str:
        done = self.sh(script)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def background(self, script: str) -> None:
        run("docker", "exec", "--detach", "--env=HOME=/root", self.id, "bash", "-c", script)

    def put(self, path: str, text: str) -> None:
        run("docker", "exec", "--interactive", self.id, "sh", "-c", f"cat > {path}", input=text)

    def start(self) -> None:
        """The cache server."""
        self.background("echo $$ > /tmp/upstream.pid; exec python3 /root/upstream.py")
        self.out("for i in $(seq 300); do curl -s -o /dev/null localhost:8080 && break; sleep 0.1; done")

    def stop(self) -> None:
        self.out("kill $(cat /tmp/upstream.pid)")

    def curl(self, *options: str, path: str, host: str = SITE, scheme: str = "https") -> str:
        resolve = " ".join(f"--resolve {host}:{port}:127.0.0.1" for port in (80, 443))
        return f"curl -sk -m 60 {resolve} {' '.join(options)} '{scheme}://{host}{path}'"

    def ask(self, path: str, *options: str, host: str = SITE, scheme: str = "https") -> Answer:
        return answer(self.out(self.curl("-i", *options, path=path, host=host, scheme=scheme)))

    def log(self) -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in self.out(f"cat /var/log/caddy/access-{SITE}.log").splitlines()]


def answer(text: str) -> Answer:
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.split("\n")
    version, status = first.split()[:2]
    return Answer(int(status), version, {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}, body)


@pytest.fixture(scope="module", autouse=True)
def installation() -> Iterator[subprocess.Popen[str]]:
    """Of sslyze, in an environment of its own, because it needs an older release of cryptography than others. Meanwhile
    the other tests run."""
    command = [str(ROOT / "scripts/venv"), ".venv/sslyze", "tests/nix/requirements-sslyze.txt"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        yield process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    host = Host(tmp_path_factory.mktemp("host"), EVALUATORS["lab"])
    settings(host)
    server = Server(host.value(CADDYFILE))
    try:
        # It takes as long as Caddy waits, meanwhile the other tests run.
        slow = server.curl("-i", path="/ci-cache/slow.narinfo")
        server.background(f"{slow} > /tmp/slow.part; mv /tmp/slow.part /tmp/slow")
        yield server
    finally:
        run("docker", "rm", "--force", "--volumes", server.id)


def test_caddy_accepts_what_nixos_generates(host: t.Any, server: Server) -> None:
    if host.evaluator is EVALUATORS["lab"]:
        return  # the fixture has asked it
    settings(host)
    text = host.value(CADDYFILE)
    assert f"\n{SITE} " in text
    server.put("/root/other", text)
    server.out("caddy fmt --overwrite /root/other; caddy adapt --validate --adapter caddyfile --config /root/other")


def test_sites_of_a_tailnet(host: t.Any) -> None:
    """The firewall admits its interface only, and a certificate must be possible."""
    sites = {TAILNET: {"tailnet": True}, SITE: {"tailnet": True, "certificate": "/srv/certificate.pem"}}
    host.settings("caddy", sites=sites)
    got = host.value("""{
      messages = map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
      inherit (config.networking.firewall) allowedTCPPorts allowedUDPPorts;
      tailnet = config.networking.firewall.interfaces.tailscale0;
      hosts = config.services.atticd.settings.allowed-hosts;
    }""")
    assert not {80, 443} & {*got["allowedTCPPorts"], *got["allowedUDPPorts"]}
    assert (got["tailnet"]["allowedTCPPorts"], got["tailnet"]["allowedUDPPorts"]) == ([80, 443], [443])
    assert {*sites} <= {*got["hosts"]}
    one, other = got["messages"]
    assert TAILNET in one and "no certificate authority can reach this host" in one
    assert SITE in other and "only one of certificate and key" in other


def test_it_is_https_with_http_2_and_3(server: Server) -> None:
    plain = server.ask("/ci-cache/nix-cache-info", scheme="http")
    assert (plain.status, plain.headers["location"]) == (308, f"https://{SITE}/ci-cache/nix-cache-info")
    for option, version in (("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2"), ("--http3-only", "HTTP/3")):
        got = server.ask("/ci-cache/nix-cache-info", option)
        assert (got.status, got.version, got.body) == (200, version, INFO.format(30))


def test_answers_of_the_server_pass(server: Server) -> None:
    assert server.ask("/ci-cache/some.narinfo").status == 200
    missing = server.ask("/ci-cache/none.narinfo")
    assert missing.status == 404 and "retry-after" not in missing.headers
    assert server.ask("/ci-cache/nar/some.nar").headers["location"].endswith("signed-secret")
    assert server.ask("/_api/v1/broken").body == "broken"


def test_an_error_of_the_server_is_a_miss(server: Server) -> None:
    for path in ("/ci-cache/broken.narinfo", "/ci-cache/nar/broken"):
        assert server.ask(path).status == 404


def test_an_upload_of_any_size_is_not_buffered(server: Server) -> None:
    """The rest of the body is sent only when its beginning has arrived."""
    wait = "for i in $(seq 300); do test -e /srv/seen && break; sleep 0.1; done"
    upload = server.curl("-T-", path="/_api/v1/upload-path")
    body = f"(head -c 1M /dev/zero; {wait}; test -e /srv/seen && head -c 200M /dev/zero)"
    assert int(server.out(f"rm -f /srv/seen; {body} | {upload}")) == 201 << 20
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", server.out("cat /proc/$(pidof caddy)/status"))[0])
    assert peak < 150_000


def test_the_tailnet_only(server: Server) -> None:
    for host in (TAILNET, TS):
        assert server.ask("/c/nix-cache-info", f"--interface {MEMBER}", "--cacert /srv/certificate.pem", host=host)
        closed = server.sh(server.curl(path="/c/nix-cache-info", host=host))
        assert (closed.returncode != 0, closed.stdout) == (True, "")


def test_metrics_are_on_loopback_only(server: Server) -> None:
    assert "caddy_http_requests_total" in server.out("curl -s http://localhost:2019/metrics")
    address = server.out("hostname -i").split()[0]
    assert server.sh(f"curl -sk https://{address}").returncode != 7
    assert server.sh(f"curl -s http://{address}:2019/metrics").returncode == 7


def test_while_the_server_is_away(server: Server) -> None:
    server.stop()
    try:
        known, other = server.ask("/ci-cache/nix-cache-info"), server.ask("/other/nix-cache-info")
        assert (known.status, known.body) == (200, INFO.format(60))
        assert (other.status, other.body) == (200, INFO.format(41))
        assert known.headers["content-type"] == "text/x-nix-cache-info"
        for path in ("/ci-cache/some.narinfo", "/ci-cache/nar/some.nar"):
            for option in ("", "--head"):
                got = server.ask(path, option)
                assert (got.status, got.headers["retry-after"]) == (404, "30")
        secrets = f"-H 'Private-Token: {SECRET}' -H 'Authorization: Bearer {SECRET}' -H 'Cookie: session={SECRET}'"
        api = server.curl("-i", secrets, path=f"/_api/v1/cache-config/ci-cache?token={SECRET}")
        upload = server.curl("-i", "-T-", path="/_api/v1/upload-path")
        # Each waits a while for the server.
        both = server.out(f"{api} > /tmp/api & echo body | {upload}; wait; echo; echo ----; cat /tmp/api")
        for got in map(answer, both.split("\n----\n")):
            assert (got.status, got.headers["retry-after"]) == (503, "30")
            assert json.loads(got.body)["code"] == 503
        assert SECRET not in server.out("cat /tmp/caddy.log")
        # Nix builds what it does not find; an error, as from the other site, would stop it.
        built, failed = server.sh(nix_build(SITE)), server.sh(nix_build(OWN))
        assert (built.returncode, failed.returncode != 0) == (0, True), built.stderr
        assert "HTTP error 502" in failed.stderr
        # The host's own site is as it was.
        assert server.ask("/", host=OWN)[0::3] == (502, "")
    finally:
        server.start()
    # Ten failures make Caddy wait a little before it asks again.
    server.out(
        f"for i in $(seq 100); do {server.curl('-f', path='/ci-cache/some.narinfo')} && exit; sleep 0.1; done; exit 1"
    )


def test_a_server_that_does_not_answer_is_a_miss(server: Server) -> None:
    got = answer(server.out("for i in $(seq 500); do test -e /tmp/slow && break; sleep 0.1; done; cat /tmp/slow"))
    assert (got.status, got.headers["retry-after"]) == (404, "30")


def test_the_log_tells_hits_from_misses_without_secrets(server: Server) -> None:
    server.ask(f"/ci-cache/last.narinfo?{SECRET}", f"-u user:{SECRET} -H 'Private-Token: {SECRET}'")
    log = server.log()
    text = json.dumps(log)
    assert SECRET not in text and "signed-secret" not in text and "headers" not in log[-1]["request"]
    last = log[-1]
    assert last["request"]["uri"] == "/ci-cache/last.narinfo"
    assert (last["status"], last["size"], last["request"]["method"]) == (200, 24, "GET")
    assert last["duration"] > 0 and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last["ts"])


def test_the_log_is_bounded(server: Server) -> None:
    adapted = json.loads(server.out("caddy adapt --adapter caddyfile --config /root/Caddyfile 2>/dev/null"))
    [writer] = [
        log["writer"]
        for log in adapted["logging"]["logs"].values()
        if log.get("writer", {}).get("filename", "").endswith(f"-{SITE}.log")
    ]
    assert (writer["roll_size_mb"], writer["roll_keep"], writer["roll_keep_days"]) == (1, 2, 3)


def test_the_hit_rate_of_a_log_that_caddy_wrote(server: Server) -> None:
    server.put("/root/hit-rate.py", (ROOT / "nix/modules/hit-rate.py").read_text())
    rows = [line.split() for line in server.out("python3 /root/hit-rate.py /var/log/caddy 1").splitlines()]
    # Two, if it is midnight.
    counts = [map(int, row[-4:-1]) for row in rows if row[1] == "ci-cache"]
    hits, misses, away = map(sum, zip(*counts, strict=True))
    # none.narinfo is the miss; broken.narinfo, slow.narinfo and what was asked without a server are the others
    assert hits >= 2 and misses == 1 and away >= 4


def test_a_scanner_finds_nothing_wrong_with_its_tls(
    server: Server, installation: subprocess.Popen[str], tmp_path: pathlib.Path
) -> None:
    output, _ = installation.communicate(timeout=300)
    if installation.returncode:
        pytest.skip(f"sslyze cannot be installed, which needs the package index: {output[-300:]}")
    root, report = tmp_path / "root.pem", tmp_path / "report.json"
    root.write_text(server.out("cat /root/.local/share/caddy/pki/authorities/local/root.crt"))
    target = server.out("hostname -i").split()[0] + ":443"
    options = (
        f"--sni={SITE}",
        f"--certinfo_ca_file={root}",
        f"--json_out={report}",
        "--mozilla_config=intermediate",
        "--slow_connection",
    )
    done = attempt(str(ROOT / ".venv/sslyze/bin/sslyze"), *options, target, timeout=120)
    assert done.returncode == 0 and "OK - Compliant" in done.stdout, done.stdout[-3000:] + done.stderr
    [scan] = json.loads(report.read_text())["server_scan_results"]
    result = scan["scan_result"]
    accepted = {
        name for name in result if name.endswith("_cipher_suites") and result[name]["result"]["accepted_cipher_suites"]
    }
    assert accepted == {"tls_1_2_cipher_suites", "tls_1_3_cipher_suites"}
    [deployment] = result["certificate_info"]["result"]["certificate_deployments"]
    assert any(found["was_validation_successful"] for found in deployment["path_validation_results"])
