"""Make src/hooktrail/_client.py of _async_client.py; with --check only tell whether it is so."""

import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "src" / "hooktrail"
RULES = [
    (
        r"The asynchronous client\. ``make_sync\.py`` makes the other one of this file\.",
        "The client. Made of ``_async_client.py`` by ``make_sync.py``: change that one.",
    ),
    (r"\b_async_transport\b", "_transport"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\b(async|await) ", ""),
]


def main() -> int:
    made = (PACKAGE / "_async_client.py").read_text(encoding="utf-8")
    for pattern, replacement in RULES:
        made = re.sub(pattern, replacement, made)
    target = PACKAGE / "_client.py"
    if "--check" not in sys.argv[1:]:
        target.write_text(made, encoding="utf-8")
    elif target.read_text(encoding="utf-8") != made:
        print("src/hooktrail/_client.py is not what make_sync.py makes: run it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
