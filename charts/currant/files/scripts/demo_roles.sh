# The roles of `currant roles`, and two that log in as members of them. The schema is there before the first migration, which gives
# the roles their rights because they may use it. The image's entry point sources this file.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set worker="$WORKER_PASSWORD" --set client="$CLIENT_PASSWORD" <<'SQL'
create role currant_reader nologin;
create role currant_client nologin;
create role currant_worker nologin;
create role demo_worker login password :'worker' in role currant_worker;
create role demo_client login password :'client' in role currant_client, pg_read_all_stats;
create schema currant;
grant usage on schema currant to currant_reader, currant_client, currant_worker;
SQL
