"""Where does a URL hold a password? What is shown or kept is written without it.

Standard library only.
"""

from __future__ import annotations

import re

_BY_NAME = r"(?:password|passwd|sslpassword)="


def hidden(text: str) -> str:
    """A text for people, with stars for every password of a URL in it.

    >>> hidden("cannot open postgresql://me:secret@host/studies")
    'cannot open postgresql://me:***@host/studies'
    >>> hidden("postgresql://host/studies?user=me&password=secret")
    'postgresql://host/studies?user=me&password=***'
    """
    # Up to the last @: who did not write an @ of the password as %40 must not read it either.
    text = re.sub(r"(://[^:/@\s]*:)\S*@", r"\1***@", text)
    return re.sub(rf"([?&]{_BY_NAME})[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def without_password(text: str) -> str:
    """A word of a command line, to be kept: a URL in it works where its password is known.

    >>> without_password("--storage=postgresql://me:secret@host/studies?password=secret")
    '--storage=postgresql://me@host/studies'
    """
    text = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1@", text)
    return re.sub(
        rf"([?&]){_BY_NAME}[^&\s]*(&|$)",
        lambda found: found[1] if found[2] else "",
        text,
        flags=re.IGNORECASE,
    )
