"""The page at `/`: drop or record speech, and watch its text come."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

PAGE = Path(__file__).with_name("page.html")
OWN = {"script": re.compile("<script>(.*?)</script>", re.S)}
OWN["style"] = re.compile("<style>(.*?)</style>", re.S)


async def page(request: Request) -> Response:
    """Return the page, which may load nothing from anywhere else."""
    text, policy = _page()
    headers = {"content-security-policy": policy, "x-content-type-options": "nosniff"}
    return HTMLResponse(text, headers={**headers, "referrer-policy": "no-referrer"})


@cache
def _page() -> tuple[str, str]:
    """Return the page and its policy: its own script and style alone, known by their digests."""
    text = PAGE.read_text("utf-8")
    allowed = []
    for kind, pattern in OWN.items():
        for body in pattern.findall(text):
            digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
            allowed.append(f"{kind}-src 'sha256-{digest}'")
    rest = "connect-src 'self'; media-src blob:; img-src data:; style-src-attr 'unsafe-inline'"
    return text, f"default-src 'none'; {'; '.join(allowed)}; {rest}; frame-ancestors 'none'"
