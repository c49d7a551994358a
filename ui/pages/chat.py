"""Chat with a model."""

from __future__ import annotations

from functools import partial

import streamlit as st

from ui.parts import asking, console, show_left_over, shown
from ui.parts.answering import answer
from ui.parts.branches import Tree
from ui.parts.history import draw_history, opened_id
from ui.parts.messages import draw_messages, draw_refused
from ui.parts.settings import draw_settings
from ui.parts.welcome import draw_welcome

ask = asking.take()
show_left_over()
with shown():
    draw_history(is_busy=ask is not None)
    chat = console().chat(chat_id) if (chat_id := opened_id()) else None
    new = draw_settings(console().models(), chat, is_busy=ask is not None)

tree = Tree(chat) if chat else None
branch = tree.branch(chat.leaf_id) if chat and tree else []
if chat and tree and ask:
    draw_messages(chat, tree, tree.branch(ask.parent_id), is_busy=True)
elif chat and tree and branch:
    draw_messages(chat, tree, branch, is_busy=False)
refused = asking.kept(opened_id())
if refused and not ask:
    draw_refused(refused)
elif not branch and not ask:
    draw_welcome(opened_id(), can_ask=new is not None)

is_writing = bool(branch) and branch[-1].state == "writing"
last_answer = next((message.id for message in reversed(branch) if message.role == "assistant"), None)
send = partial(asking.queue_input, "question", opened_id(), last_answer)
st.chat_input("Ask the model", key="question", on_submit=send, disabled=bool(ask) or is_writing or new is None)
if ask:
    answer(ask, new)
