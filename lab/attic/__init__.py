# SPDX-License-Identifier: GPL-3.0-or-later
"""A double of the Attic binary cache: server (`atticd`) and client (`attic`), good enough for a real Nix."""
