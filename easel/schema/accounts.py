"""Accounts: who is in a workspace."""

from typing import Literal

Role = Literal["owner", "admin", "member"]
