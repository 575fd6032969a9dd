"""Leaves a thread running when it is imported: what has one can't be forked."""

import threading

threading.Thread(target=threading.Event().wait, name="left-behind", daemon=True).start()
