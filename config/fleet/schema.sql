-- Results of a fleet in TimescaleDB (PostgreSQL 14 or later with the extension). connect.yaml fills it.
-- A record that comes twice has the same id, and revision 1 its own: the key makes both harmless.
CREATE TABLE IF NOT EXISTS results (
    captured_at timestamptz NOT NULL,
    id          text        NOT NULL,
    agent       text        NOT NULL,
    camera      text        NOT NULL,
    seq         bigint      NOT NULL,
    revision    integer     NOT NULL,
    supersedes  text,
    clock_ok    boolean     NOT NULL,
    route       text        NOT NULL,
    reason      text        NOT NULL,
    model       text        NOT NULL,
    latency_ms  real        NOT NULL,
    objects     integer     NOT NULL,
    predictions jsonb       NOT NULL,
    PRIMARY KEY (id, captured_at)
);

SELECT create_hypertable('results', 'captured_at', chunk_time_interval => INTERVAL '1 day', if_not_exists => TRUE);
CREATE INDEX IF NOT EXISTS results_by_camera ON results (agent, camera, captured_at DESC);

ALTER TABLE results SET (timescaledb.compress, timescaledb.compress_segmentby = 'agent, camera');
SELECT add_compression_policy('results', INTERVAL '2 days', if_not_exists => TRUE);
SELECT add_retention_policy('results', INTERVAL '90 days', if_not_exists => TRUE);

-- What is to be counted: each frame once, by its newest answer.
CREATE OR REPLACE VIEW answers AS
SELECT r.* FROM results r
WHERE NOT EXISTS (SELECT FROM results newer WHERE newer.supersedes = r.id AND newer.captured_at = r.captured_at);
