"""One small piece per material.

Adding one: write its law here and enter it in ``LAWS``; nothing else needs to know.
"""

LAWS = {"jelly": None}
