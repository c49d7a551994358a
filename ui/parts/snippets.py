"""How a program asks the same model: lines to copy, with the key left to the environment."""

from __future__ import annotations

import json
from string import Template

import streamlit as st

from ui.parts.connection import console

_API = "api"

_CURL = Template("""curl $api/chat/completions \\
  -H "Authorization: Bearer $$SANDBOX_API_KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": $model, "messages": [{"role": "user", "content": "Hello"}]}'""")

_PYTHON = Template("""import os
from openai import OpenAI

client = OpenAI(base_url="$api", api_key=os.environ["SANDBOX_API_KEY"])
answer = client.chat.completions.create(
    model=$model,
    messages=[{"role": "user", "content": "Hello"}],
)
print(answer.choices[0].message.content)""")

_JAVASCRIPT = Template("""const reply = await fetch("$api/chat/completions", {
  method: "POST",
  headers: {
    "Authorization": `Bearer $${process.env.SANDBOX_API_KEY}`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify({
    model: $model,
    messages: [{ role: "user", content: "Hello" }],
  }),
});
console.log((await reply.json()).choices[0].message.content);""")


def snippets(api: str, model: str) -> dict[str, tuple[str, str]]:
    """Write the lines for one model.

    Returns:
        By title: the language and the lines.
    """
    base = api.rstrip("/")
    given = {"api": base if base.endswith("/v1") else f"{base}/v1", "model": json.dumps(model)}
    return {
        "curl": ("bash", _CURL.substitute(given)),
        "Python": ("python", _PYTHON.substitute(given)),
        "JavaScript": ("javascript", _JAVASCRIPT.substitute(given)),
    }


def draw_snippets(model: str) -> None:
    """Draw the lines for a model, one tab each."""
    if _API not in st.session_state:
        st.session_state[_API] = console().status().api
    st.caption("Make a key on the page “Keys” and put it into the variable SANDBOX_API_KEY.")
    written = snippets(str(st.session_state[_API]), model)
    for tab, (language, lines) in zip(st.tabs(list(written)), written.values(), strict=True):
        tab.code(lines, language=language)
