"""The record: who asked what of which model, begun before the first token leaves."""

from sandbox.audit.records import Begun, Ended, EndState, RecordRow, Records

__all__ = ["Begun", "EndState", "Ended", "RecordRow", "Records"]
