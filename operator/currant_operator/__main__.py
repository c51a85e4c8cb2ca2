"""`currant-operator`: see `--help`.

Exit code 0 after SIGTERM, 1 when the lease was lost or something failed, 2 for settings that cannot be used.
"""

from __future__ import annotations

import logging
import os
import sys

from currant_operator import logs, settings
from currant_operator.cluster.errors import LoginError
from currant_operator.process_end import end_process


def main() -> None:
    """The command."""
    try:
        given = settings.load(sys.argv[1:], os.environ)
    except settings.SettingsError as error:
        print(f"currant-operator: {error}", file=sys.stderr)
        sys.exit(2)
    logs.set_up(given.log_level, given.log_format)
    from currant_operator import app  # after the logs: kopf takes them as it finds them

    code = 1
    try:
        code = app.run(given)
    except LoginError as error:
        print(f"currant-operator: {error}", file=sys.stderr)
    except Exception:
        logging.getLogger(__name__).exception("the operator failed")
    end_process(code)


if __name__ == "__main__":
    main()
