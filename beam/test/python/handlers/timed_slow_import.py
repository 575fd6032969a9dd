import time

from slither.worker import item_handler

time.sleep(1.5)


@item_handler
def one(item):
    return item
