"""The third-party files that the page loads. The build fetches them (``fetch_vendor.py``); none is checked in.

This module needs nothing but Python, because the build reads it before anything is installed.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "static" / "vendor"

_WEUI = "weui/dist/style"

FILES: dict[str, tuple[str, ...]] = {
    "wecom.prod.js": ("@wecom/jssdk/dist/wecom.prod.js",),
    # The whole of WeUI is twice as much as everything else together; the page uses these parts.
    "weui.css": (
        f"{_WEUI}/base/base.min.css",
        f"{_WEUI}/icon/weui-icon.min.css",
        f"{_WEUI}/widget/weui-button/weui-button.min.css",
        f"{_WEUI}/widget/weui-cell/weui-cell.min.css",
        f"{_WEUI}/widget/weui-loading/weui-loading.min.css",
        f"{_WEUI}/widget/weui-page/weui-msg.min.css",
    ),
    "weui.LICENSE.txt": ("weui/LICENSE.txt",),
}
"""Name in ``FOLDER`` to the files in npm packages that it consists of, byte for byte and one behind the other."""


class VendorMissing(Exception):
    """The page can't be served; the message says what to run."""


def check_vendor(folder: Path = FOLDER) -> None:
    """Raises ``VendorMissing`` unless every file is there."""
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise VendorMissing(
            f"the sidebar's third-party files are missing ({', '.join(absent)}). In a source checkout run "
            "'make vendor' or 'python fetch_vendor.py'; an installed wecom-crm has them, so install it again."
        )
