-- Database of a client as its compliance tool keeps it. Deterministic: the same rows on every machine.
CREATE TABLE IF NOT EXISTS controls (
    id text PRIMARY KEY,
    title text NOT NULL,
    framework text NOT NULL,
    owner text NOT NULL
);
CREATE TABLE IF NOT EXISTS assets (
    id text PRIMARY KEY,
    hostname text NOT NULL UNIQUE,
    kind text NOT NULL,
    owner text NOT NULL
);
CREATE TABLE IF NOT EXISTS findings (
    finding_id bigint PRIMARY KEY,
    control text NOT NULL REFERENCES controls (id),
    asset text NOT NULL REFERENCES assets (id),
    title text NOT NULL,
    severity integer NOT NULL CHECK (severity BETWEEN 1 AND 5),
    status text NOT NULL CHECK (status IN ('open', 'accepted', 'closed')),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz
);
CREATE INDEX IF NOT EXISTS findings_open_severity ON findings (severity) WHERE status = 'open';

INSERT INTO controls
SELECT 'CC' || (n / 10 + 1) || '.' || (n % 10 + 1),
       (ARRAY['Access is reviewed', 'Disks are encrypted', 'Backups are restored', 'Changes are approved',
              'Logs are kept', 'Staff are trained'])[n % 6 + 1] || ' (' || n || ')',
       (ARRAY['SOC 2', 'ISO 27001', 'HIPAA'])[n % 3 + 1],
       'team-' || n % 7
FROM generate_series(0, 39) AS n
ON CONFLICT DO NOTHING;

INSERT INTO assets
SELECT 'A-' || lpad(n::text, 4, '0'),
       (ARRAY['laptop', 'server', 'router', 'printer', 'phone'])[n % 5 + 1] || '-' || lpad(n::text, 4, '0')
           || '.acme.example',
       (ARRAY['laptop', 'server', 'router', 'printer', 'phone'])[n % 5 + 1],
       'team-' || n % 7
FROM generate_series(1, 200) AS n
ON CONFLICT DO NOTHING;

INSERT INTO findings
SELECT n,
       'CC' || (n % 40 / 10 + 1) || '.' || (n % 10 + 1),
       'A-' || lpad((n % 200 + 1)::text, 4, '0'),
       'Finding ' || n || ' of the yearly review',
       n % 5 + 1,
       (ARRAY['open', 'open', 'closed', 'accepted'])[n % 4 + 1],
       timestamptz '2026-01-01 00:00:00+00' + n * interval '13 hours',
       CASE WHEN n % 4 = 2 THEN timestamptz '2026-01-01 00:00:00+00' + (n + 20) * interval '13 hours' END
FROM generate_series(1, 500) AS n
ON CONFLICT DO NOTHING;

-- The reporting tool may log in and sit there; it needs to read nothing.
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO client_acme_ro;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO client_acme_ro;
ALTER ROLE client_acme_ro SET default_transaction_read_only = on;
