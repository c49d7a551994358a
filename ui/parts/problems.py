"""How an expected failure looks on a page."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import streamlit as st

from sandbox.errors import SandboxError, Unauthenticated
from ui.safe_markdown import plain

Given = ParamSpec("Given")

_LEFT_OVER = "problem"


@contextmanager
def shown() -> Generator[None, None, None]:
    """Show a failure with its hint instead of the rest of the page."""
    try:
        yield
    except SandboxError as error:
        show(error)
        st.stop()


def show(error: SandboxError) -> None:
    """Show a failure with its hint."""
    st.error(plain(error.message), icon=":material/error:")
    st.caption(plain(error.hint))
    if isinstance(error, Unauthenticated):
        st.html('<p><a href="/signin" target="_self">Sign in again</a></p>')


def acting(action: Callable[Given, None]) -> Callable[Given, None]:
    """Make a callback keep its failure for `show_left_over`: a callback itself has no place on the page."""

    @wraps(action)
    def tried(*args: Given.args, **kwargs: Given.kwargs) -> None:
        try:
            action(*args, **kwargs)
        except SandboxError as error:
            keep_left_over(error)

    return tried


def keep_left_over(error: SandboxError) -> None:
    """Keep a failure for the next run."""
    st.session_state[_LEFT_OVER] = error


def show_left_over() -> None:
    """Show the failure of the callback that caused this run, once."""
    error = st.session_state.pop(_LEFT_OVER, None)
    if isinstance(error, SandboxError):
        show(error)
