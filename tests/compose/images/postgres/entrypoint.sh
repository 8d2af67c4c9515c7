#!/bin/bash
# Makes the cluster at the first start, runs the scripts of /docker-entrypoint-initdb.d, then becomes the server.
set -euo pipefail

first_start() {
    : "${POSTGRES_PASSWORD:?must be set}"
    export POSTGRES_USER="${POSTGRES_USER:-postgres}"
    initdb --username "$POSTGRES_USER" --pwfile <(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-local trust --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 > /dev/null
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    # Nobody may connect over the network before the databases are there.
    pg_ctl start --wait --silent --options "-c listen_addresses='' -k /run/postgresql"
    for script in /docker-entrypoint-initdb.d/*.sh; do
        if [ -e "$script" ]; then
            bash "$script"
        fi
    done
    pg_ctl stop --wait --silent --mode fast
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    chmod 700 "$PGDATA"
    first_start
fi
exec "$@" -k /run/postgresql -c listen_addresses='*'
