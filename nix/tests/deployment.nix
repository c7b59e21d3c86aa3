# A controller deploys ready-made systems to a host that runs plain NixOS: a good one, one with a broken service, one without
# sshd, one that cannot be switched to, and one that nobody confirms. A NixOS test; flake.nix says how to run it.
{ pkgs }:
let
  inherit (pkgs) lib;
  inherit (import (pkgs.path + "/nixos/tests/ssh-keys.nix") pkgs)
    snakeOilEd25519PrivateKey
    snakeOilEd25519PublicKey
    ;
  python = pkgs.python3.withPackages (packages: [ packages.ansible-core ]);

  # What Galaxy would deliver, built and installed by ansible-galaxy. The collections that it depends on are for other playbooks.
  collection =
    pkgs.runCommand "pantheros-nixci"
      {
        nativeBuildInputs = [ python ];
        source = lib.fileset.toSource {
          root = ../..;
          fileset = lib.fileset.unions [
            ../../LICENSE
            ../../README.md
            ../../galaxy.yml
            ../../meta
            ../../nix
            ../../playbooks
            ../../plugins
            ../../roles
          ];
        };
      }
      ''
        export HOME="$TMPDIR"
        ansible-galaxy collection build "$source" --output-path built
        ansible-galaxy collection install built/*.tar.gz --no-deps --offline --collections-path "$out"
      '';

  # As a user's configuration takes the modules.
  ours = import ../modules/with-settings.nix ./settings;
  marked = name: {
    environment.etc."nixci-test".text = name;
  };
  # Releases that know switch inhibitors count the implementation of D-Bus among them.
  inhibitors = lib.versionAtLeast lib.trivial.release "26.05";

  inventory = pkgs.writeTextDir "hosts.yml" (
    builtins.toJSON {
      nixos.hosts.target = {
        ansible_user = "root";
        ansible_ssh_private_key_file = "/etc/nixci-test/key";
        ansible_ssh_common_args = "-o UserKnownHostsFile=/etc/nixci-test/known_hosts -o StrictHostKeyChecking=yes";
        ansible_python_interpreter = "/run/current-system/sw/bin/python3";
      };
    }
  );
in
pkgs.testers.runNixOSTest {
  name = "nixci-deployment";

  # Nothing is fetched.
  defaults.nix.settings = {
    substituters = lib.mkForce [ ];
    trusted-public-keys = lib.mkForce [ ];
  };

  nodes = {
    controller = {
      environment.systemPackages = [ python ];
      environment.variables.ANSIBLE_COLLECTIONS_PATH = "${collection}";
      environment.etc = {
        "nixci-test/known_hosts".text = "target ${snakeOilEd25519PublicKey}";
        "nixci-test/key" = {
          source = snakeOilEd25519PrivateKey;
          mode = "0600";
        };
      };
    };

    target =
      { pkgs, ... }:
      {
        # A boot loader of its own: what boots after a crash is part of the test.
        virtualisation = {
          useBootLoader = true;
          useEFIBoot = true;
          memorySize = 2048;
        };
        boot.loader = {
          systemd-boot.enable = true;
          efi.canTouchEfiVariables = true;
          timeout = 0;
        };
        # The pair that the controller logs in with is the host's as well.
        environment.etc."ssh/test_host_key" = {
          source = snakeOilEd25519PrivateKey;
          mode = "0600";
        };
        services.openssh = {
          enable = true;
          hostKeys = [
            {
              path = "/etc/ssh/test_host_key";
              type = "ed25519";
            }
          ];
        };
        users.users.root.openssh.authorizedKeys.keys = [ snakeOilEd25519PublicKey ];
        environment.systemPackages = [ pkgs.python3 ];
        services.dbus.implementation = "dbus";

        specialisation = {
          good.configuration = {
            imports = [
              ours
              (marked "good")
            ];
          };
          better.configuration = {
            imports = [
              ours
              (marked "better")
            ];
          };
          failing.configuration = {
            imports = [
              ours
              (marked "failing")
            ];
            systemd.services.broken = {
              wantedBy = [ "multi-user.target" ];
              serviceConfig.Type = "oneshot";
              script = "exit 1";
            };
          };
          deaf.configuration = {
            imports = [
              ours
              (marked "deaf")
            ];
            services.openssh.enable = lib.mkForce false;
          };
          inhibited.configuration = {
            imports = [
              ours
              (marked "inhibited")
            ];
            services.dbus.implementation = lib.mkForce "broker";
          };
        };
      };
  };

  testScript =
    { nodes, ... }:
    ''
      import json

      BASE = "${nodes.target.system.build.toplevel}"
      DEPLOYMENTS = "/var/log/nixci/deployments.jsonl"


      def system(name):
          return target.succeed(f"readlink -f {BASE}/specialisation/{name}").strip()


      def play(playbook, **variables):
          """Its exit status and output."""
          command = f"ansible-playbook -i ${inventory}/hosts.yml pantheros.nixci.{playbook} -e '{json.dumps(variables)}' 2>&1"
          return controller.execute(command, timeout=600)


      def deploy(name, **variables):
          return play("deploy", deploy_store_path=system(name), **variables)


      def assert_runs(name):
          """The running system, the profile and what boots next are this one."""
          for link in ("/run/current-system", "/nix/var/nix/profiles/system"):
              assert target.succeed(f"readlink -f {link}").strip() == system(name), link
          generation = target.succeed("readlink /nix/var/nix/profiles/system").strip().split("-")[1]
          target.succeed(f"grep -x 'default nixos-generation-{generation}.*conf' /boot/loader/loader.conf")
          target.succeed("systemctl is-active sshd.service")
          target.fail("test -e /var/lib/nixci/deployment")


      def results():
          return [json.loads(line)["result"] for line in target.succeed(f"cat {DEPLOYMENTS}").splitlines()]


      start_all()
      target.wait_for_unit("sshd.service")
      controller.wait_for_unit("multi-user.target")

      with subtest("a good system is confirmed, and a second time is nothing to do"):
          status, output = deploy("good")
          assert status == 0, output
          assert_runs("good")
          status, output = deploy("good")
          assert status == 0 and "changed=0" in output, output
          assert results() == ["confirmed"]

      with subtest("a system whose service fails is taken back, and not tried again"):
          status, output = deploy("failing")
          assert status != 0 and "broken.service" in output, output
          assert_runs("good")
          target.fail("systemctl cat broken.service")
          status, output = deploy("failing")
          assert status != 0, output
          assert_runs("good")
          assert results() == ["confirmed", "reverted"], results()

      with subtest("a system without sshd is refused, and goes back by itself if forced"):
          status, output = deploy("deaf")
          assert status != 0, output
          assert_runs("good")
          status, output = deploy("deaf", deploy_force=["lockout"], deploy_confirm_timeout=60)
          assert status != 0, output
          target.wait_until_succeeds(f"test $(readlink -f /run/current-system) = {system('good')}", timeout=180)
          target.wait_for_unit("sshd.service")
          target.wait_until_fails("test -e /var/lib/nixci/deployment", timeout=60)
          assert_runs("good")

      with subtest("a crash before the confirmation heals by itself"):
          arguments = f"action=switch store_path={system('better')} confirm_timeout=900"
          controller.succeed(
              f"ansible -i ${inventory}/hosts.yml target -m pantheros.nixci.nixos_rebuild -a '{arguments}'", timeout=600
          )
          assert target.succeed("readlink -f /run/current-system").strip() == system("better")
          assert target.succeed("readlink -f /nix/var/nix/profiles/system").strip() == system("good")
          target.crash()
          target.start()
          target.wait_for_unit("sshd.service")
          target.wait_until_fails("test -e /var/lib/nixci/deployment", timeout=120)
          assert_runs("good")

      with subtest("a rollback goes back to the system before"):
          status, output = deploy("better")
          assert status == 0, output
          assert_runs("better")
          status, output = play("rollback")
          assert status == 0, output
          assert_runs("good")
    ''
    + lib.optionalString inhibitors ''

      with subtest("a system that cannot be switched to is refused, or becomes the next boot"):
          status, output = deploy("inhibited")
          assert status != 0 and "dbus-implementation" in output, output
          assert_runs("good")
          status, output = deploy("inhibited", deploy_inhibitors="boot_and_reboot")
          assert status == 0, output
          assert_runs("inhibited")
    '';
}
