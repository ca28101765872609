# The connection to the broker: of the application, and of the board when the application has died.
from umqtt.simple import MQTTClient, MQTTException

from settings import HOST, NAME, PASSWORD, PORT, USER

KEEPALIVE = 60  # s; check_msg pings the broker twice as often

LOST = (OSError, MQTTException, AssertionError, IndexError)  # what umqtt raises when the connection is lost


def client():
    """Returns a client that is not connected yet."""
    return MQTTClient(NAME, HOST, PORT, USER, PASSWORD, KEEPALIVE)
