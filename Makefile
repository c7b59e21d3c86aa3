# make demo        a whole cache on this machine: the lab, then playbooks/site.yml on it
# make test        every test
# make docs        docs/plugins/, docs/roles/ and roles/*/README.md from the sources
# make docsite     the documentation as a website, in build/docsite
# make bench       what runs cost, beside community.general's modules
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
	@scripts/lint
	@pytest

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
