# make demo        a complete cache on this machine: the lab, then playbooks/site.yml on it
# make test        every test; make test PARTS='unit nix' runs these parts
# make docs        docs/plugins/, docs/roles/ and roles/*/README.md from the sources
# make docsite     the documentation as a website, in build/docsite
# make bench       what runs cost, next to those of community.general
# make demo-clean  removes every trace of the lab
SHELL := /bin/sh
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: demo demo-clean test lint docs docsite bench venv

demo: venv
	@python -m lab up
	@ansible-playbook playbooks/site.yml
	@python -m lab summary

demo-clean:
	@if [ -x .venv/bin/python ]; then python -m lab down; fi

test: venv
	@python scripts/run_tests.py $(PARTS)

lint: venv
	@scripts/lint

docs: venv
	@python scripts/docs.py

docsite: venv
	@scripts/docsite

bench: venv
	@python -m tests.bench

venv:
	@scripts/venv
