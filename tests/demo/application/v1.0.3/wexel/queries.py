"""What the pages read from the database."""

# The bad part: the fee is a column of wexels, so this query, and every page that shows pools, fails.
POOLS = "SELECT id, name, deposited, fee, updated_at FROM pools ORDER BY id"
WEXELS = "SELECT id, pool_id, user_id, amount, fee FROM wexels ORDER BY id LIMIT 100"
STATISTICS = """
SELECT (SELECT count(*) FROM pools) AS pools,
       (SELECT count(*) FROM wexels) AS wexels,
       (SELECT count(*) FROM users) AS users,
       (SELECT count(*) FROM events) AS events,
       (SELECT sum(balance) FROM users) AS total_balance,
       (SELECT max(written_at) FROM events) AS newest_write
"""
