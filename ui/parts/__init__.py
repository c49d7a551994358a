"""What the pages are made of."""

from ui.parts.connection import Console, console, use_console
from ui.parts.problems import acting, show, show_left_over, shown

__all__ = ["Console", "acting", "console", "show", "show_left_over", "shown", "use_console"]
