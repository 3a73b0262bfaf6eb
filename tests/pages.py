"""What holds of every page: nothing outside of it is needed, and its ids are its own."""

from __future__ import annotations

import re


def assert_self_contained(page: str) -> None:
    """That the page needs no other file or address."""
    # XML namespaces are names, not addresses to load; everything else that points somewhere must point into the page.
    markup = re.sub(r">[^<]*<", "><", page)
    addresses = re.findall(r"https?://[^\s\"')]+", markup)
    assert all(address.startswith("http://www.w3.org/") for address in addresses)
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert "@import" not in page
    assert "<script" not in page
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def assert_ids_resolve(page: str) -> None:
    """That ids are unique and all references point to one."""
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    references = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page)
    assert references
    assert set(references) <= set(ids)
