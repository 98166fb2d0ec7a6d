"""``python -m wecom_crm`` is ``wecom-crm``."""

from wecom_crm.cli import main

if __name__ == "__main__":
    main()
