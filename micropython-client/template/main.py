# Runs the application, app.py. If that dies, the board tells why, begins anew, and takes the next update in any case.
import mqtt_ota_boot


def client():
    import broker  # not above, as in boot.py

    return broker.client()


mqtt_ota_boot.run("app", client=client)
