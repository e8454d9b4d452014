"""Serve folders as the Hugging Face Hub would, on this machine, with faults on demand."""

from mirror.fault import Fault
from mirror.file import File
from mirror.repository import Repository
from mirror.server import Mirror
from mirror.state import Request

__all__ = ["Fault", "File", "Mirror", "Repository", "Request"]
