"""Tells Alembic how to reach the database: through the PG* variables, which hold the password too."""

from alembic import context
from sqlalchemy import create_engine, pool

with create_engine("postgresql+psycopg2://", poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
