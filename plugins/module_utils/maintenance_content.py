# SPDX-FileCopyrightText: usdx.rollback contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a maintenance page says, as HTML and as JSON, and the nginx configuration that answers everything with it."""

from __future__ import annotations

import hashlib
import html
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from .errors import RollbackError

MARKER_HEADER = "X-Maintenance-Page"
DIRECTORY = "/maintenance"
PLAIN_PORT = 8080
TLS_PORT = 8443
CERTIFICATE = "/maintenance-tls/certificate.pem"
KEY = "/maintenance-tls/key.pem"
LIMITS = {"title": 150, "text": 2000, "contact": 200}
RETRY_AFTER = range(1, 7 * 24 * 3600 + 1)
# Every mistake that nginx itself answers, before or instead of a location, for example 405 for TRACE.
_OWN_ERRORS = "400 403 404 405 408 411 413 414 415 416 429 494 495 496 497 500 501 502 504 505"
_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*\Z")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+\Z")
_LINK = re.compile(r"https?://[^\s<>\"']+\Z")
_LISTEN_TLS = f"""
    listen {TLS_PORT} ssl default_server;
    ssl_certificate {CERTIFICATE};
    ssl_certificate_key {KEY};
    ssl_protocols TLSv1.2 TLSv1.3;"""

_STYLE = """
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --ink: #1d2430; --soft: #5a6474; --line: #e1e5eb; --accent: #2f6feb }
@media (prefers-color-scheme: dark) {
  :root { --page: #10141a; --card: #191f28; --ink: #e8ecf2; --soft: #a3adbd; --line: #2a323e; --accent: #79a6ff }
}
* { box-sizing: border-box }
body {
  margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--page); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main {
  width: 100%; max-width: 34rem; padding: clamp(1.75rem, 6vw, 3rem);
  background: var(--card); border: 1px solid var(--line); border-radius: 1rem;
}
svg { display: block; width: 2.75rem; height: 2.75rem; margin: 0 0 1.5rem -.25rem; color: var(--accent) }
h1 { margin: 0 0 .75rem; font-size: clamp(1.5rem, 5vw, 2rem); line-height: 1.2; letter-spacing: -.01em }
h1, p { overflow-wrap: anywhere; hyphens: auto }
p { margin: 0 0 .75rem; color: var(--soft); white-space: pre-line }
p:last-child { margin-bottom: 0 }
p.contact { margin-top: 1.5rem; padding-top: 1.25rem; border-top: 1px solid var(--line) }
a { color: var(--accent) }
"""  # noqa: E501 - CSS
_ICON = (
    '<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.75" stroke-linecap="round" '
    'stroke-linejoin="round" aria-hidden="true"><circle cx="12" cy="12" r="9"/><path d="M12 7v5l3.5 2"/></svg>'
)


@dataclass(frozen=True)
class Words:
    """What the page says. ``retry_after`` is in seconds; ``language`` is a BCP 47 tag."""

    title: str
    text: str
    contact: str
    retry_after: int
    language: str


def checked_words(words: Words) -> Words:
    """Return the words without blanks around them; refuse what cannot be shown."""
    cleaned = {name: _checked_text(name, getattr(words, name)) for name in LIMITS}
    if not cleaned["title"]:
        raise _refused("title", words.title, "a title, for example 'We will be back soon'")
    if "\n" in cleaned["title"] + cleaned["contact"]:
        raise _refused("title or contact", "text with several lines", "one line each")
    if words.retry_after not in RETRY_AFTER:
        raise _refused("retry_after", words.retry_after, f"seconds from {RETRY_AFTER[0]} to {RETRY_AFTER[-1]}")
    if not _LANGUAGE.match(words.language):
        raise _refused("language", words.language, "a language tag such as en or pt-BR")
    return Words(**cleaned, retry_after=words.retry_after, language=words.language)


def html_page(words: Words) -> str:
    """Return the page: one file that loads nothing, for light and dark screens of any width."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", words.text) if part.strip()]
    lines = [f"<h1>{html.escape(words.title)}</h1>", *(f"<p>{html.escape(part)}</p>" for part in paragraphs)]
    if words.contact:
        lines.append(f'<p class="contact">{_contact(words.contact)}</p>')
    body = "\n".join(lines)
    return f"""<!DOCTYPE html>
<html lang="{html.escape(words.language)}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{html.escape(words.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{_ICON}
{body}
</main>
</body>
</html>
"""


def json_page(words: Words) -> str:
    """Return the body for clients that ask for JSON."""
    told = {"status": 503, "error": "maintenance", "title": words.title, "message": words.text}
    told |= {"contact": words.contact} if words.contact else {}
    return json.dumps(told | {"retry_after": words.retry_after}, ensure_ascii=True) + "\n"


def nginx_configuration(words: Words, marker: str, *, tls: bool, as_root: bool) -> str:
    """Return a whole nginx.conf that answers every request, good or bad, with 503 and the page.

    Needs the modules ``map``, ``headers`` and ``rewrite``, and ``ssl`` when ``tls``. All that nginx writes is in /tmp.
    ``as_root`` is for a TLS key that only root may read: workers then stay root, in a container without capabilities.
    """
    return f"""{"user root;" if as_root else ""}
worker_processes 1;
error_log stderr error;
pid /tmp/nginx.pid;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  server_tokens off;
  keepalive_timeout 0;
  client_body_temp_path /tmp/body;
  client_max_body_size 0;
  client_header_timeout 10s;
  send_timeout 10s;
  reset_timedout_connection on;
  types {{ application/json json; }}
  default_type text/html;
  charset utf-8;
  charset_types application/json;
  etag off;
  map $http_accept $maintenance_body {{
    default html;
    ~*text/html html;
    ~*application/([a-z0-9.+-]+\\+)?json json;
  }}
  server {{
    listen {PLAIN_PORT} default_server;{_LISTEN_TLS if tls else ""}
    server_name _;
    root {DIRECTORY};
    add_header Retry-After {words.retry_after} always;
    add_header Cache-Control no-store always;
    add_header {MARKER_HEADER} {marker} always;
    add_header X-Content-Type-Options nosniff always;
    add_header Referrer-Policy no-referrer always;
    add_header Content-Security-Policy "default-src 'none'; style-src 'unsafe-inline'" always;
    error_page 503 /page.$maintenance_body;
    error_page {_OWN_ERRORS} =503 /page.$maintenance_body;
    location / {{ return 503; }}
    location ~ ^/page\\.(html|json)$ {{ internal; }}
  }}
}}
"""


def marker_of(parts: dict[str, Any]) -> str:
    """Return the 16 hexadecimal digits that stand for a page with all that belongs to it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def described(words: Words) -> dict[str, Any]:
    """Return the words as plain values, for a result, a label and a diff."""
    return asdict(words)


def _contact(contact: str) -> str:
    """Return the contact as HTML; an address or a link can be clicked."""
    shown = html.escape(contact)
    if _ADDRESS.match(contact):
        return f'<a href="mailto:{shown}">{shown}</a>'
    return f'<a href="{shown}" rel="noreferrer">{shown}</a>' if _LINK.match(contact) else shown


def _checked_text(name: str, text: str) -> str:
    cleaned = text.strip().replace("\r\n", "\n")
    if len(cleaned) > LIMITS[name] or any(not one.isprintable() and one != "\n" for one in cleaned):
        shown = cleaned if len(cleaned) <= LIMITS[name] else f"{cleaned[:30]}… ({len(cleaned)} characters)"
        raise _refused(name, shown, f"at most {LIMITS[name]} characters without control characters")
    return cleaned


def _refused(option: str, value: object, accepted: str) -> RollbackError:
    return RollbackError(f"{option}={value!r} is not accepted. Nothing was changed.", f"Give {accepted}.")
