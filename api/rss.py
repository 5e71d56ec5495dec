"""The list of models as an RSS 2.0 feed, for those who wait for new ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from urllib.parse import quote
from xml.dom.minidom import Document, Element

from api.model_list import Row

MIMETYPE = "application/rss+xml"
_TITLE = "Pointsman Models"
#: What XML cannot hold even when escaped.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CDATA_END = "]]>"


def feed(rows: Iterable[Row], origin: str, *, chat_links: bool) -> bytes:
    """The feed.

    Args:
        rows: the models, in their order.
        origin: of this router as the reader sees it, such as `https://models.example`.
        chat_links: items lead to a chat with the model (`/chat?models=…`), for installations with
            one at that address, instead of to its description.
    """
    document = Document()
    rss = document.createElement("rss")
    rss.setAttribute("version", "2.0")
    document.appendChild(rss)
    channel = document.createElement("channel")
    rss.appendChild(channel)
    _text(channel, "title", _TITLE)
    _text(channel, "link", f"{origin}/api/v1/models")
    _text(channel, "description", "Models of this router")
    for row in rows:
        channel.appendChild(_item(document, row, origin, chat_links=chat_links))
    return document.toxml(encoding="UTF-8")


def _item(document: Document, row: Row, origin: str, *, chat_links: bool) -> Element:
    model = row.model
    path = f"chat?models={quote(model.id)}" if chat_links else f"api/v1/model/{quote(model.id)}"
    item = document.createElement("item")
    _quoted(item, "title", f"{model.name} ({model.id})")
    _text(item, "link", f"{origin}/{path}")
    _text(item, "guid", model.id).setAttribute("isPermaLink", "false")
    _text(item, "pubDate", formatdate(model.created, usegmt=True))
    _quoted(item, "description", model.description)
    return item


def _element(parent: Element, name: str) -> tuple[Document, Element]:
    document = parent.ownerDocument
    if document is None:
        raise ValueError("an element of no document")
    child = document.createElement(name)
    parent.appendChild(child)
    return document, child


def _text(parent: Element, name: str, text: str) -> Element:
    document, child = _element(parent, name)
    child.appendChild(document.createTextNode(_FORBIDDEN.sub("", text)))
    return child


def _quoted(parent: Element, name: str, text: str) -> None:
    """The text as CDATA; the end mark is cut in two, as a section cannot hold it."""
    document, child = _element(parent, name)
    parts = _FORBIDDEN.sub("", text).split(_CDATA_END)
    for place, part in enumerate(parts):
        head = ">" if place else ""
        tail = "]]" if place < len(parts) - 1 else ""
        child.appendChild(document.createCDATASection(head + part + tail))
