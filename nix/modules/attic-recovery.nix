# SQL that atticd's unit runs before each start. Attic releases what an upload holds in tasks of
# their own, which a stop of the server ends: the rows stay held or pending for ever, and no
# collection removes them (github.com/zhaofengli/attic/issues/64 and 66). While no server is
# connected nothing can be held, so everything that is, is a leak.
''
  \set VERBOSITY terse
  SET lock_timeout = '10s';
  SET statement_timeout = '2min';

  -- Everybody else who could be a server: the collector, or another atticd. Superusers are not
  -- counted, because backups and monitoring are.
  CREATE FUNCTION pg_temp.others() RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM pg_stat_activity JOIN pg_user USING (usesysid)
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND (pg_user.usename = current_user
           OR (NOT usesuper AND has_table_privilege(usesysid, to_regclass('chunk'), 'UPDATE')))
  $$;

  DO $$
  DECLARE
    nars bigint;
    chunks bigint;
    pending_nars bigint;
    pending_chunks bigint;
  BEGIN
    IF to_regclass('nar') IS NULL OR to_regclass('chunk') IS NULL THEN
      RETURN; -- the first start makes the tables
    END IF;

    -- The connections of a server that has just ended take a moment to close.
    FOR attempt IN 1..10 LOOP
      PERFORM pg_stat_clear_snapshot();
      EXIT WHEN pg_temp.others() = 0;
      PERFORM pg_sleep(0.3);
    END LOOP;
    -- Whoever connects after the next look waits with its first write until this is done.
    LOCK TABLE nar, chunk IN SHARE ROW EXCLUSIVE MODE;
    PERFORM pg_stat_clear_snapshot();
    IF pg_temp.others() > 0 THEN
      RAISE NOTICE 'Another server or collector uses the database, so what interrupted uploads hold is not released now.';
      RETURN;
    END IF;

    UPDATE nar SET holders_count = 0 WHERE holders_count <> 0;
    GET DIAGNOSTICS nars = ROW_COUNT;
    UPDATE chunk SET holders_count = 0 WHERE holders_count <> 0;
    GET DIAGNOSTICS chunks = ROW_COUNT;
    DELETE FROM nar WHERE state = 'P';
    GET DIAGNOSTICS pending_nars = ROW_COUNT;
    UPDATE chunk SET state = 'D' WHERE state = 'P';
    GET DIAGNOSTICS pending_chunks = ROW_COUNT;
    IF nars + chunks + pending_nars + pending_chunks > 0 THEN
      RAISE NOTICE 'Interrupted uploads: released % NARs and % chunks; removed % pending NARs and marked % pending chunks for the next collection.',
        nars, chunks, pending_nars, pending_chunks;
    END IF;
  END
  $$;
''
