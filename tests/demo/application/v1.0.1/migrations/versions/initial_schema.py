"""The tables, and the same rows on every installation.

Revision ID: 20241201000000
Revises: nothing
"""

from alembic import op

revision = "20241201000000"
down_revision = None

SCHEMA = """
CREATE TABLE users (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    balance numeric(20, 2) NOT NULL CHECK (balance >= 0)
);
CREATE TABLE pools (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    deposited numeric(20, 2) NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE TABLE wexels (
    id bigint PRIMARY KEY,
    pool_id bigint NOT NULL REFERENCES pools,
    user_id bigint NOT NULL REFERENCES users,
    amount numeric(20, 2) NOT NULL
);
CREATE TABLE events (
    id bigserial PRIMARY KEY,
    pool_id bigint NOT NULL REFERENCES pools,
    amount numeric(20, 2) NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

ROWS = """
INSERT INTO users SELECT n, 'user-' || n, 1000 + n * 7.31 FROM generate_series(1, 200) n;
INSERT INTO pools SELECT n, 'pool-' || n, n * 10000, '2024-12-01 00:00:00+00' FROM generate_series(1, 8) n;
INSERT INTO wexels SELECT n, n % 8 + 1, n % 200 + 1, n * 3.17 FROM generate_series(1, 400) n;
INSERT INTO events (pool_id, amount, written_at)
    SELECT n % 8 + 1, n, timestamptz '2024-12-01 00:00:00+00' + n * interval '1 minute' FROM generate_series(1, 300) n;
"""


def upgrade() -> None:
    """Make the tables and fill them."""
    op.execute(SCHEMA)
    op.execute(ROWS)


def downgrade() -> None:
    """Remove the tables with all that is in them."""
    op.execute("DROP TABLE events, wexels, pools, users")
