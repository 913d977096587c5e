"""An index for the list of the newest events.

Revision ID: 20241220000000
Revises: 20241201000000
"""

from alembic import op

revision = "20241220000000"
down_revision = "20241201000000"


def upgrade() -> None:
    """Make the index."""
    op.execute("CREATE INDEX events_written_at ON events (written_at DESC)")


def downgrade() -> None:
    """Remove the index."""
    op.execute("DROP INDEX events_written_at")
