# An application that has nothing to say: idle.py FOLDER NAME HOST PORT CLIENT KEEPALIVE LOOP [tls] [sets]. CLIENT is simple or
# robust or simple2, LOOP the method that it calls over and over.
import sys
import time

if "sets" in sys.argv:
    import mqtt_ota_boot

    mqtt_ota_boot.boot(sys.argv[1], 0)

import mqtt_ota

root, name, host, port, kind, keepalive, loop = sys.argv[1:8]
umqtt = __import__("umqtt." + kind, None, None, ("MQTTClient",))
MQTTClient = umqtt.MQTTClient
Lost = OSError, getattr(umqtt, "MQTTException", OSError)
MQTTClient.DEBUG = True


class Tls:
    # What firmware has as ussl, of what the unix port has.
    @staticmethod
    def wrap_socket(sock):
        import tls

        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        context.verify_mode = tls.CERT_NONE
        return context.wrap_socket(sock)


sys.modules["ussl"] = sys.modules["ssl"] = Tls
client = MQTTClient(name, host, int(port), keepalive=int(keepalive), ssl="tls" in sys.argv)
client.set_callback(lambda *message: print("heard", *message))
ota = mqtt_ota.attach(client, name, root=root, reset=lambda: print("reset"))


def connect():
    client.connect()
    client.subscribe(name.encode())
    ota.start()
    print(name, "is ready")


connect()
receive = getattr(client, loop)
while True:
    try:
        receive()
    except Lost as error:
        print("lost:", error)
        connect()
    if loop == "check_msg":
        time.sleep_ms(20)
