# SPDX-License-Identifier: GPL-3.0-or-later
"""The documented example of a safe activation without the roles, on a host that knows nothing of them."""
