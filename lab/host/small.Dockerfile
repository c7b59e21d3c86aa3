# SPDX-License-Identifier: GPL-3.0-or-later
# The lab's small host: the same Debian without the server's packages, which is faster than a second base.
ARG BASE
FROM ${BASE}
ARG SERVER
# Debian tells apt never to remove a version of PostgreSQL by itself.
RUN apt-get purge --yes --quiet --autoremove ${SERVER} 'postgresql-*' && rm -rf /var/lib/postgresql /var/lib/caddy /etc/postgresql /etc/caddy
COPY nixos /usr/lib/nixos-standin
COPY op /usr/lib/op-double
COPY bin /usr/local/bin
COPY init /usr/local/sbin/lab-init
RUN rm -f /etc/ssh/ssh_host_* && /usr/lib/nixos-standin/install
CMD ["/usr/local/sbin/lab-init"]
