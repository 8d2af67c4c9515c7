#!/bin/bash
# Runs once, on an empty data folder: a role and a database for each of the two programs, neither sees the other's.
set -eu

for program in mlflow optuna; do
    variable="$(echo "$program" | tr '[:lower:]' '[:upper:]')_DB_PASSWORD"
    psql --username "$POSTGRES_USER" --dbname postgres --set ON_ERROR_STOP=1 --quiet \
        --set program="$program" --set password="${!variable:?must be set}" <<'SQL'
CREATE ROLE :"program" LOGIN PASSWORD :'password';
CREATE DATABASE :"program" OWNER :"program";
REVOKE ALL ON DATABASE :"program" FROM PUBLIC;
SQL
done
