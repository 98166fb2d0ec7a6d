"""${message}

Revision ${up_revision}

The previous release is still running while this runs: add first, remove in a later release. Lock no table for long.
Work on SQLite (op.batch_alter_table), PostgreSQL, MySQL and MariaDB. Import nothing of ours.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
