"""What an empty chat shows."""

from __future__ import annotations

import streamlit as st

from ui.parts import asking

EXAMPLES = (
    "Explain in three sentences what an open-weight model is.",
    "Write a Python function that counts the words in a file.",
    "Suggest five names for a small bakery, with a reason each.",
)


def draw_welcome(chat_id: str | None, *, can_ask: bool) -> None:
    """Greet, and offer something to ask."""
    st.subheader("What would you like to know?")
    st.write(
        "The model runs on this machine. Your questions and its answers stay here, "
        "and every answer names its entry in the record."
    )
    with st.container(key="examples", gap="small"):
        for number, example in enumerate(EXAMPLES):
            ask = asking.Ask(chat_id, example, None)
            st.button(
                example,
                key=f"example_{number}",
                width="stretch",
                on_click=asking.queue,
                args=(ask,),
                disabled=not can_ask,
            )
